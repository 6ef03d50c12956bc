// What a page may say about its streams as a whole.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { endStage, makeStage, settle } from "./stage.mjs";

let stage;

beforeEach(() => (stage = makeStage()));
afterEach(endStage);

const deny = (name, reason) => stage.socket.say({ type: "denied", name, reason });
const retry = (name) => stage.socket.say({ type: "retry", name, reason: "limit" });

describe("the state", () => {
  test("a page without streams is idle", async () => {
    await settle();

    assert.equal(stage.connection.state, "idle");
    assert.deepEqual(stage.states, []);
  });

  test("a page is connected when the last of its streams is", async () => {
    stage.attach("a~1", "@0.h");
    stage.attach("b~1", "@0.h");
    await stage.socket.accept();
    await stage.socket.subscribed("a~1", "e:0", { stream: "a" });
    assert.deepEqual(stage.states, ["connecting"]);

    await stage.socket.subscribed("b~1", "e:0", { stream: "b" });

    assert.deepEqual(stage.states, ["connecting", "connected"]);
    assert.equal(stage.connection.state, "connected");
  });

  test("it is right at once, and reported after the task", async () => {
    stage.attach("a~1", "@0.h");

    assert.equal(stage.connection.state, "connecting");
    assert.deepEqual(stage.states, []);
  });

  test("a lost connection stays disconnected until the server has answered", async () => {
    await stage.connect("a~1", "@0.h", "e:0");
    stage.states.length = 0;

    await stage.socket.end(1006);
    await stage.pass(250);
    await stage.socket.end(1006);
    await stage.pass(500);
    await stage.socket.accept();
    assert.deepEqual(stage.states, ["disconnected"]);
    await stage.socket.subscribed("a~1", "e:0");

    assert.deepEqual(stage.states, ["disconnected", "connected"]);
  });

  test("a server that never accepts the handshake is never connected", async () => {
    stage.attach("a~1", "@0.h");

    for (let attempt = 0; attempt < 20; attempt += 1) {
      await stage.socket.end(1006);
      await stage.pass(12_000);
    }

    assert.deepEqual(stage.states, ["disconnected"]);
  });

  test("a stream that the server cannot decide on is disconnected", async () => {
    stage.attach("a~1", "@0.h");
    await stage.socket.accept();

    await retry("a~1");
    await stage.pass(250);

    assert.deepEqual(stage.states, ["connecting", "disconnected"]);
  });

  test("without a network the page is offline", async () => {
    await stage.connect("a~1", "@0.h", "e:0");
    stage.window.navigator.onLine = false;

    await stage.socket.end(1006);

    assert.equal(stage.states.at(-1), "offline");
  });

  test("a network that comes and goes is said at once", async () => {
    await stage.connect("a~1", "@0.h", "e:0");
    await stage.socket.end(1006);
    stage.states.length = 0;

    stage.window.navigator.onLine = false;
    await stage.window.fire("offline");
    stage.window.navigator.onLine = true;
    await stage.window.fire("online");

    assert.deepEqual(stage.states, ["offline", "disconnected"]);
  });

  test("a socket that works is worth more than what the browser says", async () => {
    stage.window.navigator.onLine = false;

    await stage.connect("a~1", "@0.h", "e:0");

    assert.equal(stage.states.at(-1), "connected");
  });

  test("one denied stream makes the page denied, when the others are connected", async () => {
    stage.attach("a~1", "@0.h");
    stage.attach("b~1", "@0.h");
    await stage.socket.accept();
    await deny("a~1", "forbidden");
    assert.deepEqual(stage.states, ["connecting"]);

    await stage.socket.subscribed("b~1", "e:0");

    assert.deepEqual(stage.states, ["connecting", "denied"]);
  });

  test("a page that may not connect is denied", async () => {
    await stage.connect("a~1", "@0.h", "e:0");

    await stage.socket.end(4403);
    await stage.pass(60_000);

    assert.deepEqual(stage.states, ["connecting", "connected", "denied"]);
  });

  test("a page that gave up catching up is stale instead of connected", async () => {
    await stage.connect("a~1", "@0.h", "e:0");

    stage.isStale = true;
    stage.connection.noteState();
    await settle();
    assert.equal(stage.connection.state, "stale");
    await stage.socket.end(1006);

    assert.deepEqual(stage.states.slice(-2), ["stale", "disconnected"]);
  });

  test("a visit goes by way of connecting", async () => {
    const old = await stage.connect("a~1", "@0.h", "e:0");

    stage.connection.detach(old);
    stage.attach("a~2", "@1.h");
    await settle();
    await stage.socket.subscribed("a~2", "e:0");
    await stage.pass(300);

    assert.deepEqual(stage.states, [
      "connecting",
      "connected",
      "connecting",
      "connected",
    ]);
  });

  test("an element that is moved changes nothing", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:0");

    stage.connection.detach(source);
    stage.attach("a~1", source.since);
    await stage.pass(300);

    assert.deepEqual(stage.states, ["connecting", "connected"]);
  });

  test("a preview keeps the state of the page before", async () => {
    const old = await stage.connect("a~1", "@0.h", "e:0");

    stage.isVisiting = true;
    stage.connection.detach(old);
    await stage.pass(10_000);

    assert.deepEqual(stage.states, ["connecting", "connected"]);
  });

  test("a page whose last stream is gone is idle, and says nothing before", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:0");

    stage.connection.detach(source);
    await stage.pass(300);

    assert.deepEqual(stage.states, ["connecting", "connected", "idle"]);
  });

  test("streams that are gone before they were connected never are", async () => {
    stage.connection.detach(stage.attach("a~1", "@0.h"));
    await settle();
    await stage.pass(300);

    assert.deepEqual(stage.states, ["connecting", "idle"]);
  });

  test("a page that the browser kept is connecting when it is shown", async () => {
    await stage.connect("a~1", "@0.h", "e:0");

    await stage.window.fire("pagehide", { persisted: true });
    await stage.window.fire("pageshow", { persisted: true });
    await stage.socket.accept();
    await stage.socket.subscribed("a~1", "e:0");

    assert.deepEqual(stage.states, [
      "connecting",
      "connected",
      "connecting",
      "connected",
    ]);
  });

  test("messages do not ask for the state", async () => {
    let asked = 0;
    endStage();
    stage = makeStage({ isStale: () => (asked += 1) < 0 });
    await stage.connect("a~1", "@0.h", "e:0");
    const before = asked;

    for (let number = 1; number <= 50; number += 1)
      await stage.socket.message(`e:${number}`);

    assert.equal(asked, before);
  });
});

describe("reconnect()", () => {
  test("the socket is replaced at once", async () => {
    await stage.connect("a~1", "@0.h", "e:0");

    stage.connection.reconnect();
    await settle();
    await stage.socket.accept();
    await stage.socket.subscribed("a~1", "e:0");

    assert.equal(stage.sockets.length, 2);
    assert.equal(stage.sockets[0].isClosed, true);
    assert.deepEqual(stage.states.slice(-2), ["connecting", "connected"]);
  });

  test("a page without streams opens none", async () => {
    stage.connection.reconnect();
    await settle();

    assert.equal(stage.sockets.length, 0);
    assert.equal(stage.window.listeners + stage.document.listeners, 0);
  });
});
