// Drives dcrf-client: a line of JSON in, a call of the client; its outcome out.
const readline = require("node:readline");
const dcrf = require("dcrf-client").default;
const WebSocket = require("ws");

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const client = dcrf.connect(process.argv[2], {
  pkField: "id",
  websocket: { WebSocket, minReconnectionDelay: 50, maxReconnectionDelay: 100 },
});
const subscriptions = [];

const calls = {
  request: (...given) => client.request(...given),
  list: (...given) => client.list(...given),
  create: (...given) => client.create(...given),
  retrieve: (...given) => client.retrieve(...given),
  update: (...given) => client.update(...given),
  patch: (...given) => client.patch(...given),
  delete: (...given) => client.delete(...given),
  subscribe: (stream, pk) => {
    const subscription = client.subscribe(stream, pk, (data, action) =>
      say({ event: action, data }),
    );
    subscriptions.push(subscription);
    return subscription;
  },
  cancel: (index) => Promise.resolve(subscriptions[index].cancel()),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [name, ...given] = JSON.parse(line);
  calls[name](...given).then(
    (result) => say({ result: result ?? null }),
    (error) => say({ refused: error.response_status, errors: error.errors }),
  );
});
