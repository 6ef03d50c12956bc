// The `ws` package as its documentation broadcasts: a loop over wss.clients.
const http = require("node:http");
const { WebSocketServer, WebSocket } = require("ws");
const message = process.env.BENCH_MESSAGE;

const server = http.createServer((request, response) => {
  const count = Number(request.url.split("/")[2]);
  for (let n = 0; n < count; n++) {
    const data = JSON.stringify({ type: "message", stream: "room", data: message });
    for (const client of wss.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data);
    }
  }
  response.end("0");
});
const wss = new WebSocketServer({ server });
wss.on("connection", (socket) => {
  socket.on("message", () => socket.send('{"type":"subscribed"}'));
});
server.listen(Number(process.env.BENCH_PORT), "127.0.0.1");
