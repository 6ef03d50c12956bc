// socket.io as its documentation broadcasts: to a room.
const http = require("node:http");
const { Server } = require("socket.io");
const message = process.env.BENCH_MESSAGE;

const server = http.createServer((request, response) => {
  const count = Number(request.url.split("/")[2]);
  for (let n = 0; n < count; n++) io.to("room").emit("message", message);
  response.end("0");
});
const io = new Server(server, { transports: ["websocket"] });
io.on("connection", (socket) => {
  socket.on("subscribe", () => {
    socket.join("room");
    socket.emit("subscribed");
  });
});
server.listen(Number(process.env.BENCH_PORT), "127.0.0.1");
