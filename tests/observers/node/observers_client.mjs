// Drives turbo/observers.js: a line of JSON in, a call of the client; its outcome out.
import readline from "node:readline";
import { connect } from "../../../turbo/static/turbo/observers.js";

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const options = { multiplexed: true, backoff: 50, restart: 50 };
const socket = connect(process.argv[2], options);
const people = socket.stream("people");

async function observe(subscription) {
  for await (const event of subscription) say(event);
}

const calls = {
  observe: async (pk) => void observe(people.observe(pk)),
  observeList: async (query) => void observe(people.observeList(query)),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [name, ...given] = JSON.parse(line);
  const call = calls[name] ?? ((...args) => people[name](...args));
  call(...given).then(
    (result) => result === undefined || say({ result }),
    (error) => say({ refused: error.status, errors: error.errors }),
  );
});
