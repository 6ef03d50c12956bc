// The client without a server: a fake socket that the test answers on.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import {
  ConnectionLost,
  Refusal,
  connect,
} from "../../../turbo/static/turbo/observers.js";
import { FakeSocket, settle } from "../../js/sockets.mjs";

const socket = () => FakeSocket.all.at(-1);
const options = { WebSocket: FakeSocket, random: () => 1 };
const answer = (request_id, given = {}) => ({
  action: "any",
  errors: [],
  response_status: 200,
  request_id,
  data: null,
  ...given,
});

let client;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  FakeSocket.all = [];
  client = connect("http://site.test/ws/", options);
});

afterEach(() => {
  client.close();
  mock.timers.reset();
});

async function tick(milliseconds) {
  mock.timers.tick(milliseconds);
  await settle();
}

const SUBSCRIBE = "subscribe_instance";

// Subscribe to an object, and let its snapshot come.
async function observed() {
  const people = client.observe(1);
  await socket().accept();
  await socket().say(answer(1, { action: SUBSCRIBE, data: "a", position: "e:7" }));
  return people;
}

test("no socket is opened before something is wanted", () => {
  assert.equal(FakeSocket.all.length, 0);
});

test("requests wait for the connection and get their answers", async () => {
  const answers = Promise.all([
    client.retrieve(1),
    client.list({ room: 3 }, { limit: 2 }),
  ]);
  await socket().accept();
  await socket().say(answer(2, { data: ["second"] }));
  await socket().say(answer(1, { data: "first" }));

  assert.equal(socket().url, "ws://site.test/ws/");
  assert.deepEqual(socket().sent, [
    { action: "retrieve", pk: 1, request_id: 1 },
    { action: "list", query: { room: 3 }, limit: 2, request_id: 2 },
  ]);
  assert.deepEqual(await answers, ["first", ["second"]]);
});

test("every action has its message", async () => {
  const data = { name: "Ann" };
  client.create(data).catch(() => {});
  client.update(1, data).catch(() => {});
  client.patch(1, data).catch(() => {});
  client.delete(1).catch(() => {});
  client.request("own", { way: 5 }).catch(() => {});
  await socket().accept();

  assert.deepEqual(socket().sent, [
    { action: "create", data, request_id: 1 },
    { action: "update", pk: 1, data, request_id: 2 },
    { action: "patch", pk: 1, data, request_id: 3 },
    { action: "delete", pk: 1, request_id: 4 },
    { action: "own", way: 5, request_id: 5 },
  ]);
});

test("a refusal rejects with what the server said", async () => {
  const asked = client.retrieve(9);
  await socket().accept();
  const errors = ["Not found"];
  socket().say(answer(1, { action: "retrieve", response_status: 404, errors }));

  const isRight = (error) =>
    error instanceof Refusal && error.status === 404 && error.errors[0] === "Not found";
  await assert.rejects(asked, isRight);
});

test("a subscription is a snapshot and what follows it", async () => {
  const people = client.observe(1);
  await socket().accept();
  await socket().say(
    answer(1, { action: SUBSCRIBE, data: { id: 1 }, position: "e:7" }),
  );
  await socket().say(answer(1, { action: "update", data: { id: 2 }, position: "e:8" }));
  await socket().say(answer(1, { action: "delete", data: { pk: 1 }, position: "e:9" }));
  const seen = [];
  for await (const event of people) if (seen.push(event) === 3) break;

  assert.deepEqual(seen, [
    { action: "snapshot", data: { id: 1 } },
    { action: "update", data: { id: 2 } },
    { action: "delete", data: { pk: 1 } },
  ]);
  assert.deepEqual(socket().sent, [
    { action: SUBSCRIBE, pk: 1, request_id: 1, snapshot: true },
    { action: "unsubscribe_instance", pk: 1, request_id: 1 },
  ]);
  assert.equal((await people.next()).done, true);
});

test("all that wait for the next event get one each, in order", async () => {
  const people = client.observe(1);
  const results = [];
  for (let count = 0; count < 3; count += 1)
    people.next().then((result) => results.push(result));
  await socket().accept();
  await socket().say(answer(1, { action: SUBSCRIBE, data: "a", position: "e:7" }));
  await socket().say(answer(1, { action: "update", data: "b", position: "e:8" }));
  client.close();
  await settle();

  assert.deepEqual(results, [
    { value: { action: "snapshot", data: "a" }, done: false },
    { value: { action: "update", data: "b" }, done: false },
    { value: undefined, done: true },
  ]);
});

test("nothing comes after the loop was left", async () => {
  const people = await observed();
  await socket().say(answer(1, { action: "update", data: "b", position: "e:8" }));
  for await (const { data } of people) if (data === "a") break;

  assert.deepEqual(await people.next(), { value: undefined, done: true });
});

test("what is gone when the connection is back was deleted", async () => {
  const people = await observed();
  await socket().end(1006);
  await tick(500);
  await socket().accept();
  await socket().say(
    answer(1, { action: SUBSCRIBE, response_status: 404, errors: ["Not found"] }),
  );
  const seen = [];
  for await (const event of people) seen.push(event);

  assert.deepEqual(seen, [
    { action: "snapshot", data: "a" },
    { action: "delete", data: { pk: 1 } },
  ]);
});

test("a broken connection is resumed where it stood", async () => {
  const people = await observed();
  await socket().say(answer(1, { action: "update", data: "b", position: "e:8" }));
  const first = socket();
  await first.end(1006);
  await tick(500);
  await socket().accept();
  await socket().say(
    answer(1, { action: SUBSCRIBE, position: "e:8", recovered: true }),
  );
  await socket().say(answer(1, { action: "update", data: "b", position: "e:8" }));
  await socket().say(answer(1, { action: "update", data: "c", position: "e:9" }));

  const data = [];
  for (let count = 0; count < 3; count += 1)
    data.push((await people.next()).value.data);
  assert.deepEqual(data, ["a", "b", "c"]);
  assert.notEqual(socket(), first);
  assert.deepEqual(socket().sent, [
    { action: SUBSCRIBE, pk: 1, request_id: 1, since: "e:8" },
  ]);
});

test("what cannot be resumed comes as another snapshot", async () => {
  const rooms = client.observeList({ open: true });
  await socket().accept();
  const action = "subscribe_list";
  await socket().say(answer(1, { action, data: ["a"], position: "e:7" }));
  await socket().end(1012);
  await tick(2_000);
  await socket().accept();
  await socket().say(
    answer(1, { action, data: ["b"], position: "f:1", recovered: false }),
  );
  await socket().say(answer(1, { action: "snapshot", data: ["c"], position: "g:1" }));

  const events = [];
  for (let count = 0; count < 3; count += 1) events.push((await rooms.next()).value);
  assert.deepEqual(events, [
    { action: "snapshot", data: ["a"] },
    { action: "snapshot", data: ["b"] },
    { action: "snapshot", data: ["c"] },
  ]);
});

test("reads are asked again and writes are not", async () => {
  const read = client.retrieve(1);
  const written = client.delete(1);
  await socket().accept();
  const lost = assert.rejects(written, ConnectionLost);
  await socket().end(1006);
  await lost;
  await tick(500);
  await socket().accept();
  await socket().say(answer(1, { data: "read" }));

  assert.deepEqual(socket().sent, [{ action: "retrieve", pk: 1, request_id: 1 }]);
  assert.equal(await read, "read");
});

test("a refused subscription throws in the loop", async () => {
  const people = client.observe(1);
  await socket().accept();
  await socket().say(answer(1, { response_status: 403, errors: ["no"] }));

  await assert.rejects(people.next(), Refusal);
  assert.equal((await people.next()).done, true);
});

test("a subscription that is not possible just now is asked for again", async () => {
  client.observe(1);
  await socket().accept();
  await socket().say(answer(1, { response_status: 503, errors: ["wait"] }));
  await tick(500);

  assert.equal(socket().sent.length, 2);
  assert.deepEqual(socket().sent[1], socket().sent[0]);
});

test("a subscription that is never possible is asked for ever later", async () => {
  client.observe(1);
  await socket().accept();
  for (const [index, delay] of [500, 1_000, 2_000].entries()) {
    await socket().say(answer(1, { response_status: 503, errors: ["wait"] }));
    await tick(delay - 1);
    assert.equal(socket().sent.length, index + 1);
    await tick(1);
    assert.equal(socket().sent.length, index + 2);
  }
});

test("a subscription that waits to be asked for is asked for once", async () => {
  client.observe(1);
  await socket().accept();
  await socket().say(answer(1, { response_status: 503, errors: ["wait"] }));
  await socket().end(1012);
  await tick(2_000);
  await socket().accept();
  await tick(2_000);

  assert.equal(socket().sent.length, 1);
});

test("a handshake that leads nowhere is given up", async () => {
  client.observe(1);
  await tick(10_000);
  await tick(500);

  assert.equal(FakeSocket.all[0].isClosed, true);
  assert.equal(FakeSocket.all.length, 2);
});

test("a server that wants nobody is not asked again", async () => {
  const asked = client.retrieve(1);
  const people = client.observe(1);
  await socket().accept();
  const refused = assert.rejects(asked, Refusal);
  await socket().end(4403);
  await refused;
  await assert.rejects(people.next(), Refusal);
  await tick(60_000);

  assert.equal(FakeSocket.all.length, 1);
});

test("attempts come ever later, up to a limit", async () => {
  const unanswered = assert.rejects(client.retrieve(1), ConnectionLost);
  const delays = [500, 1_000, 2_000, 4_000, 8_000, 12_000];
  for (const [index, delay] of delays.entries()) {
    await socket().end(1006);
    await tick(delay - 1);
    assert.equal(FakeSocket.all.length, index + 1);
    await tick(1);
    assert.equal(FakeSocket.all.length, index + 2);
  }
  await tick(30_000);
  await unanswered;
});

test("silence is looked into and a dead connection is replaced", async () => {
  client.observe(1);
  await socket().accept();
  await tick(30_000);
  assert.deepEqual(socket().sent.at(-1), { action: "ping", request_id: 0 });
  await socket().say(answer(0));
  await tick(29_999);
  assert.equal(FakeSocket.all.length, 1);

  await tick(1);
  const dead = socket();
  await tick(5_000);
  assert.equal(dead.isClosed, true);
  await tick(500);
  assert.equal(FakeSocket.all.length, 2);
});

test("a sign of life is asked of a consumer that is there", async () => {
  client.close();
  client = connect("ws://site.test/ws/", { ...options, multiplexed: true });
  client.stream("people").observe(1);
  await socket().accept();

  await tick(30_000);

  const ping = { action: "ping", request_id: 0 };
  assert.deepEqual(socket().sent.at(-1), { stream: "people", payload: ping });
});

test("several consumers share one socket", async () => {
  client.close();
  client = connect("ws://site.test/ws/", { ...options, multiplexed: true });
  const people = client.stream("people");
  const asked = people.retrieve(1);
  const rooms = client.stream("rooms").observe(2);
  await socket().accept();
  await socket().say({ stream: "people", payload: answer(1, { data: "Ann" }) });
  const payload = answer(2, {
    action: SUBSCRIBE,
    data: "r",
    position: "e:1",
  });
  await socket().say({ stream: "rooms", payload });

  assert.equal(await asked, "Ann");
  assert.deepEqual((await rooms.next()).value, { action: "snapshot", data: "r" });
  assert.deepEqual(
    socket().sent.map(({ stream }) => stream),
    ["people", "rooms"],
  );
  assert.equal(FakeSocket.all.length, 1);
});

test("closing ends everything and leaves nothing behind", async () => {
  const asked = client.retrieve(1);
  const people = client.observe(1);
  await socket().accept();
  const lost = assert.rejects(asked, ConnectionLost);
  client.close();
  await lost;

  assert.equal((await people.next()).done, true);
  assert.equal(socket().isClosed, true);
  assert.equal(socket().onmessage, null);
  await assert.rejects(client.retrieve(1), ConnectionLost);
  await tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
});
