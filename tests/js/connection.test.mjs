// One socket, its subscriptions, and how it comes back.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { endStage, makeStage, settle } from "./stage.mjs";

let stage;

beforeEach(() => (stage = makeStage()));
afterEach(endStage);

const subscribe = (...streams) => ({ type: "subscribe", streams });

describe("subscribing", () => {
  test("no socket is opened before there is a source", async () => {
    await settle();

    assert.equal(stage.sockets.length, 0);
  });

  test("all sources of a page are asked for in one frame on one socket", async () => {
    stage.attach("a~1", "@0.h");
    stage.attach("b~1", "");
    await stage.socket.accept();

    assert.equal(stage.sockets.length, 1);
    assert.equal(stage.socket.url, "ws://test/ws/");
    assert.deepEqual(stage.socket.sent, [
      subscribe({ name: "a~1", since: "@0.h" }, { name: "b~1", since: "" }),
    ]);
  });

  test("a later source uses the open socket", async () => {
    await stage.connect("a~1", "@0.h", "e:0");

    stage.attach("b~1", "@1.h");
    await settle();

    assert.equal(stage.sockets.length, 1);
    assert.deepEqual(stage.socket.sent[1], subscribe({ name: "b~1", since: "@1.h" }));
  });

  test("more sources than a frame may hold travel in several", async () => {
    for (let number = 0; number < 120; number += 1) stage.attach(`a~${number}`, "");
    await stage.socket.accept();

    const sizes = stage.socket.sent.map(({ streams }) => streams.length);
    assert.deepEqual(sizes, [50, 50, 20]);
  });

  test("two elements with one name are one subscription", async () => {
    const one = stage.attach("a~1", "@0.h");
    const other = stage.attach("a~1", "@0.h");
    await stage.socket.accept();
    await stage.socket.subscribed("a~1", "e:3");
    await stage.socket.message("e:4");

    assert.deepEqual(stage.socket.sent, [subscribe({ name: "a~1", since: "@0.h" })]);
    assert.deepEqual([one.since, other.since], ["e:4", "e:4"]);
    assert.deepEqual([one.kinds(), other.kinds()], [["connected"], ["connected"]]);
    assert.deepEqual(stage.shown, ["e:4"]);
  });

  test("a source is told where it stands", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:7");

    assert.deepEqual(source.notices, [
      ["moved", { position: "e:7" }],
      ["connected", { position: "e:7" }],
    ]);
    assert.equal(stage.settled, 1);
  });

  test("an element that comes while the answer is on its way is asked for next", async () => {
    stage.attach("a~1", "@0.h");
    await stage.socket.accept();
    const later = stage.attach("a~1", "@1.h");
    await settle();
    assert.equal(stage.socket.sent.length, 1);

    await stage.socket.subscribed("a~1", "e:3");
    await stage.socket.message("e:4");
    assert.deepEqual(stage.socket.sent[1], subscribe({ name: "a~1", since: "@1.h" }));
    await stage.socket.subscribed("a~1", "e:4");

    assert.equal(later.since, "e:4");
    assert.deepEqual(stage.shown, ["e:4"]);
  });

  test("frames of unknown streams, names and types are ignored", async () => {
    await stage.connect("a~1", "@0.h", "e:0");

    await stage.socket.message("e:1", { stream: "other" });
    await stage.socket.subscribed("never~1", "e:1");
    await stage.socket.say({ type: "denied", name: "never~1", reason: "gone" });
    await stage.socket.say({ type: "unsubscribed", name: "a~0" });
    await stage.socket.say({ type: "surprise" });

    assert.deepEqual(stage.shown, []);
  });

  test("an error is put on the console", async (t) => {
    const warn = t.mock.method(console, "warn", () => {});
    await stage.connect("a~1", "@0.h", "e:0");

    await stage.socket.say({ type: "error", reason: "invalid", detail: "no" });

    assert.equal(warn.mock.callCount(), 1);
  });
});

describe("leaving", () => {
  test("the last source closes the socket and takes every listener along", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:0");
    assert.equal(stage.window.listeners + stage.document.listeners, 8);

    stage.connection.detach(source);
    await stage.pass(299);
    assert.equal(stage.socket.isClosed, false);
    await stage.pass(1);

    assert.equal(stage.socket.isClosed, true);
    assert.equal(stage.window.listeners + stage.document.listeners, 0);
    await stage.pass(120_000);
    assert.equal(stage.sockets.length, 1);
  });

  test("a stream is unsubscribed from when others remain", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:0");
    stage.attach("b~1", "");
    await settle();

    stage.connection.detach(source);
    await stage.pass(300);

    assert.deepEqual(stage.socket.sent.at(-1), {
      type: "unsubscribe",
      streams: ["a~1"],
    });
    assert.equal(stage.socket.isClosed, false);
  });

  test("no stream is left as long as a visit takes", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:3");

    stage.isVisiting = true;
    stage.connection.detach(source);
    await stage.pass(10_000);
    assert.equal(stage.socket.isClosed, false);
    stage.isVisiting = false;
    await stage.pass(300);

    assert.equal(stage.socket.isClosed, true);
    await stage.pass(120_000);
    assert.equal(stage.sockets.length, 1);
  });

  test("an element that is moved says nothing to the server", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:3");

    stage.connection.detach(source);
    const moved = stage.attach("a~1", source.since);
    await stage.socket.message("e:4");
    await stage.pass(1_000);

    assert.equal(stage.socket.sent.length, 1);
    assert.deepEqual(stage.shown, ["e:4"]);
    assert.equal(moved.since, "e:4");
  });

  test("a source that comes back too late for the socket opens another", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:3");
    stage.connection.detach(source);
    await stage.pass(300);

    stage.attach("a~1", source.since);
    await stage.socket.accept();

    assert.equal(stage.sockets.length, 2);
    assert.deepEqual(stage.socket.sent, [subscribe({ name: "a~1", since: "e:3" })]);
  });

  test("the new page's streams are asked for before the old page's are left", async () => {
    const old = await stage.connect("a~1", "@0.h", "e:0");

    stage.connection.detach(old);
    stage.attach("a~2", "@1.h");
    await settle();
    await stage.pass(300);

    assert.deepEqual(stage.socket.sent.slice(1), [
      subscribe({ name: "a~2", since: "@1.h" }),
      { type: "unsubscribe", streams: ["a~1"] },
    ]);
  });
});

describe("coming back", () => {
  test("the next socket asks from where each source stands", async () => {
    const one = await stage.connect("a~1", "@0.h", "e:3");
    await stage.socket.message("e:4");
    stage.attach("b~1", "@0.h");
    await settle();

    await stage.socket.end(1006);
    assert.deepEqual(one.kinds(), ["connected", "disconnected"]);
    await stage.pass(250);
    await stage.socket.accept();

    assert.equal(stage.sockets.length, 2);
    assert.deepEqual(stage.socket.sent, [
      subscribe({ name: "a~1", since: "e:4" }, { name: "b~1", since: "@0.h" }),
    ]);
  });

  test("what was missed is shown once and in order", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:3");
    await stage.socket.end(1006);
    await stage.pass(250);
    await stage.socket.accept();

    await stage.socket.subscribed("a~1", "e:3");
    for (const number of [4, 5, 4, 5, 6]) await stage.socket.message(`e:${number}`);

    assert.deepEqual(stage.shown, ["e:4", "e:5", "e:6"]);
    assert.equal(source.since, "e:6");
  });

  test("what a socket says after it was given up is not heard", async () => {
    await stage.connect("a~1", "@0.h", "e:3");
    const old = stage.socket;
    await old.end(1006);

    await old.message("e:4");

    assert.deepEqual(stage.shown, []);
  });

  test("each attempt waits up to twice as long, at most twelve seconds", async () => {
    await stage.connect("a~1", "@0.h", "e:3");

    const waits = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const before = stage.sockets.length;
      await stage.socket.end(1006);
      let waited = 0;
      for (; stage.sockets.length === before; waited += 50) await stage.pass(50);
      waits.push(waited);
    }

    assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 6000, 6000, 6000]);
  });

  test("an answer forgets the attempts", async () => {
    await stage.connect("a~1", "@0.h", "e:3");
    for (const wait of [250, 500, 1000]) {
      await stage.socket.end(1006);
      await stage.pass(wait);
    }
    await stage.socket.accept();
    await stage.socket.subscribed("a~1", "e:3");

    await stage.socket.end(1006);
    await stage.pass(250);

    assert.equal(stage.sockets.length, 5);
  });

  for (const code of [1012, 4008]) {
    test(`after ${code} it returns within two seconds`, async () => {
      await stage.connect("a~1", "@0.h", "e:3");

      await stage.socket.end(code);
      await stage.pass(999);
      assert.equal(stage.sockets.length, 1);
      await stage.pass(1);

      assert.equal(stage.sockets.length, 2);
    });
  }

  test("a server that only ever restarts is asked less often, too", async () => {
    await stage.connect("a~1", "@0.h", "e:3");
    for (const wait of [1000, 1000, 1000]) {
      await stage.socket.end(1012);
      await stage.pass(wait);
    }
    assert.equal(stage.sockets.length, 4);

    await stage.socket.end(1012);
    await stage.pass(1999);
    assert.equal(stage.sockets.length, 4);
  });

  test("after 4403 it stays away until another page asks", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:3");

    await stage.socket.end(4403);
    await stage.pass(120_000);
    assert.equal(stage.sockets.length, 1);
    assert.deepEqual(source.notices.at(-1), ["denied", { reason: "forbidden" }]);

    stage.attach("a~2", "@1.h");
    assert.equal(stage.sockets.length, 2);
  });

  test("a handshake that leads nowhere is given up", async () => {
    stage.attach("a~1", "@0.h");

    await stage.pass(12_500);
    assert.equal(stage.sockets[0].isClosed, true);
    await stage.pass(250);

    assert.equal(stage.sockets.length, 2);
  });

  test("a server that is silent is asked, and given up without an answer", async () => {
    await stage.connect("a~1", "@0.h", "e:3");

    await stage.pass(25_000);
    await stage.socket.say({ type: "ping" });
    await stage.pass(29_000);
    assert.equal(stage.socket.sent.length, 1);
    await stage.pass(1_000);
    assert.deepEqual(stage.socket.sent.at(-1), { type: "ping" });
    await stage.pass(5_000);
    await stage.pass(250);

    assert.equal(stage.sockets[0].isClosed, true);
    assert.equal(stage.sockets.length, 2);
  });

  test("a subscription without an answer is asked for again, then elsewhere", async () => {
    stage.attach("a~1", "@0.h");
    await stage.socket.accept();

    await stage.pass(12_500);
    assert.equal(stage.socket.sent.length, 2);
    assert.deepEqual(stage.socket.sent[1], stage.socket.sent[0]);
    await stage.pass(12_500);
    await stage.pass(250);

    assert.equal(stage.sockets[0].isClosed, true);
    assert.equal(stage.sockets.length, 2);
  });

  test("a clock that is set back does not hide a subscription without an answer", async (t) => {
    stage.attach("a~1", "@0.h");
    await stage.socket.accept();
    const { now } = Date;
    t.mock.method(Date, "now", () => now() - 3_600_000);

    await stage.pass(2_500);

    const asked = stage.socket.sent.filter(({ type }) => type === "subscribe");
    assert.equal(asked.length, 2);
  });
});

describe("the page's life", () => {
  const wake = {
    online: () => stage.window.fire("online"),
    focus: () => stage.window.fire("focus"),
    visibilitychange: () => stage.document.fire("visibilitychange"),
    pageshow: () => stage.window.fire("pageshow", { persisted: true }),
    resume: () => stage.document.fire("resume"),
  };

  for (const [name, fire] of Object.entries(wake)) {
    test(`${name} reconnects at once`, async () => {
      await stage.connect("a~1", "@0.h", "e:3");
      await stage.socket.end(1006);

      await fire();

      assert.equal(stage.sockets.length, 2);
      await stage.pass(60_000);
      assert.ok(stage.sockets.length > 1);
    });

    test(`${name} makes sure that an open socket lives`, async () => {
      await stage.connect("a~1", "@0.h", "e:3");

      await stage.pass(100);
      await fire();
      assert.deepEqual(stage.socket.sent.at(-1), { type: "ping" });
      await stage.pass(7_500);

      assert.equal(stage.sockets[0].isClosed, true);
    });
  }

  test("a sign of life keeps the socket", async () => {
    await stage.connect("a~1", "@0.h", "e:3");
    await stage.pass(100);
    await stage.window.fire("online");
    await stage.pass(100);

    await stage.socket.say({ type: "pong" });
    await stage.pass(30_000);

    assert.equal(stage.sockets.length, 1);
  });

  test("a page that is hidden or loaded does nothing", async () => {
    await stage.connect("a~1", "@0.h", "e:3");

    stage.document.hidden = true;
    await stage.document.fire("visibilitychange");
    await stage.window.fire("pageshow", { persisted: false });
    await stage.window.fire("pagehide", { persisted: false });

    assert.equal(stage.socket.sent.length, 1);
    assert.equal(stage.socket.isClosed, false);
  });

  test("a page that is kept aside holds no socket until it is shown again", async () => {
    await stage.connect("a~1", "@0.h", "e:3");

    await stage.window.fire("pagehide", { persisted: true });
    assert.equal(stage.socket.isClosed, true);
    stage.attach("b~1", "");
    await stage.pass(60_000);
    assert.equal(stage.sockets.length, 1);
    await stage.window.fire("pageshow", { persisted: true });
    await stage.socket.accept();

    assert.deepEqual(stage.socket.sent, [
      subscribe({ name: "a~1", since: "e:3" }, { name: "b~1", since: "" }),
    ]);
  });

  test("a frozen page does not wait for its next attempt", async () => {
    await stage.connect("a~1", "@0.h", "e:3");
    await stage.socket.end(1006);

    await stage.document.fire("freeze");
    await stage.pass(60_000);
    assert.equal(stage.sockets.length, 1);
    await stage.document.fire("resume");

    assert.equal(stage.sockets.length, 2);
  });
});

describe("refusals", () => {
  test("a denied name is not asked for again", async () => {
    const source = stage.attach("a~1", "@0.h");
    stage.attach("b~1", "");
    await stage.socket.accept();

    await stage.socket.say({ type: "denied", name: "a~1", reason: "forbidden" });
    assert.deepEqual(source.notices, [["denied", { reason: "forbidden" }]]);
    await stage.socket.end(1006);
    await stage.pass(250);
    await stage.socket.accept();

    assert.deepEqual(stage.socket.sent, [subscribe({ name: "b~1", since: "" })]);
  });

  test("streams that are denied for one reason are one line on the console", async (t) => {
    const warn = t.mock.method(console, "warn", () => {});
    for (const name of ["a~1", "b~1", "c~1"]) stage.attach(name, "@9");
    await stage.socket.accept();
    const deny = (name, reason) => stage.socket.say({ type: "denied", name, reason });

    await deny("a~1", "forbidden");
    await deny("b~1", "forbidden");
    await deny("c~1", "gone");
    await stage.pass(60_000);
    stage.attach("d~1", "@9");
    await stage.socket.accept();
    await deny("d~1", "forbidden");

    const lines = warn.mock.calls.map(({ arguments: words }) => words.join(" ").trim());
    const may = "the user may not see the stream";
    assert.deepEqual(lines, [
      `turbo-channels-stream-source: denied: forbidden: ${may}`,
      "turbo-channels-stream-source: denied: gone: the object was deleted",
      `turbo-channels-stream-source: denied: forbidden: ${may}`,
    ]);
  });

  test("a page with nothing but denied names does not reconnect", async () => {
    stage.attach("a~1", "@0.h");
    await stage.socket.accept();
    await stage.socket.say({ type: "denied", name: "a~1", reason: "gone" });

    await stage.socket.end(1006);
    await stage.pass(60_000);

    assert.equal(stage.sockets.length, 1);
  });

  test("a denied name is not unsubscribed from", async () => {
    const source = stage.attach("a~1", "@0.h");
    stage.attach("b~1", "");
    await stage.socket.accept();
    await stage.socket.say({ type: "denied", name: "a~1", reason: "gone" });

    stage.connection.detach(source);
    await stage.pass(300);

    assert.equal(stage.socket.sent.length, 1);
  });

  test("a revoked stream shows nothing more", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:3");

    await stage.socket.say({ type: "denied", name: "a~1", reason: "revoked" });
    await stage.socket.message("e:4");

    assert.deepEqual(stage.shown, []);
    assert.deepEqual(source.kinds(), ["connected", "denied"]);
  });

  test("when a page is over the limit the page before is left at once", async () => {
    const old = await stage.connect("a~1", "@0.h", "e:3");
    stage.connection.detach(old);
    const source = stage.attach("b~1", "@1.h");
    await settle();

    await stage.socket.say({ type: "denied", name: "b~1", reason: "limit" });
    assert.deepEqual(stage.socket.sent.slice(-2), [
      { type: "unsubscribe", streams: ["a~1"] },
      subscribe({ name: "b~1", since: "@1.h" }),
    ]);
    await stage.socket.say({ type: "denied", name: "b~1", reason: "limit" });

    assert.deepEqual(source.kinds(), ["denied"]);
    assert.equal(stage.socket.sent.length, 4);
  });

  test("a name for another user is asked for on a new socket, once", async () => {
    const public_ = await stage.connect("a~1", "@0.h", "e:3");
    await stage.pass(1);

    // The user has logged in, and the page brings a name that is bound to them.
    const source = stage.attach("b~1", "@1.h");
    await settle();
    await stage.socket.say({ type: "denied", name: "b~1", reason: "foreign" });
    assert.equal(stage.sockets.length, 2);
    assert.deepEqual(source.kinds(), ["disconnected"]);
    await stage.socket.accept();
    assert.deepEqual(stage.socket.sent, [
      subscribe({ name: "a~1", since: "e:3" }, { name: "b~1", since: "@1.h" }),
    ]);
    await stage.socket.say({ type: "denied", name: "b~1", reason: "foreign" });

    assert.equal(stage.sockets.length, 2);
    assert.deepEqual(source.kinds(), ["disconnected", "denied"]);
    assert.deepEqual(public_.kinds(), ["connected", "disconnected"]);
  });

  test("what is unavailable is asked for again, ever later", async () => {
    const source = stage.attach("a~1", "@0.h");
    await stage.socket.accept();

    for (const wait of [250, 500, 1000]) {
      const before = stage.socket.sent.length;
      await stage.socket.say({ type: "retry", name: "a~1", reason: "unavailable" });
      await stage.pass(wait - 1);
      assert.equal(stage.socket.sent.length, before);
      await stage.pass(1);
      assert.deepEqual(
        stage.socket.sent.at(-1),
        subscribe({ name: "a~1", since: "@0.h" }),
      );
    }
    await stage.socket.subscribed("a~1", "e:1");

    assert.deepEqual(source.kinds(), [
      "disconnected",
      "disconnected",
      "disconnected",
      "connected",
    ]);
    assert.equal(stage.sockets.length, 1);
  });
});
