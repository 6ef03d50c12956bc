// One reconnecting socket: how it opens, ends and comes back, and what it leaves behind.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import {
  DEFAULTS,
  ReconnectingSocket,
  socketAddress,
} from "../../turbo/static/turbo/socket.js";
import { FakeSocket, FakeTarget, settle } from "./sockets.mjs";

let page, heard, opened, ends, socket;

const make = (options = {}) => {
  page = { window: new FakeTarget(), document: new FakeTarget() };
  heard = [];
  ends = [];
  opened = 0;
  return new ReconnectingSocket({
    WebSocket: FakeSocket,
    url: () => `ws://test/${FakeSocket.all.length}/`,
    random: () => 0.5,
    opened: () => (opened += 1),
    received: (message) => heard.push(message),
    closed: ({ isRefused }) => ends.push(isRefused),
    ...page,
    ...options,
  });
};

const last = () => FakeSocket.all.at(-1);
const count = () => FakeSocket.all.length;
const listeners = () => page.window.listeners + page.document.listeners;

async function pass(milliseconds) {
  mock.timers.tick(milliseconds);
  await settle();
}

// Connect, and be accepted.
async function open(options) {
  socket = make(options);
  socket.connect();
  await last().accept();
  return last();
}

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  FakeSocket.all = [];
});

afterEach(() => {
  socket?.disconnect();
  socket = undefined;
  mock.timers.reset();
});

describe("connecting", () => {
  test("nothing is opened and nothing listened to before connect()", () => {
    socket = make();

    assert.deepEqual([count(), listeners()], [0, 0]);
  });

  test("messages travel both ways as JSON", async () => {
    const server = await open();

    socket.send({ one: 1 });
    await server.say({ two: 2 });

    assert.equal(server.url, "ws://test/0/");
    assert.equal(opened, 1);
    assert.deepEqual(server.sent, [{ one: 1 }]);
    assert.deepEqual(heard, [{ two: 2 }]);
  });

  test("connecting again opens no second socket", async () => {
    await open();

    socket.connect();

    assert.deepEqual([count(), listeners()], [1, 8]);
  });

  test("connecting again does not shorten the way back", async () => {
    const server = await open();
    await server.end(1006);

    socket.connect();
    assert.equal(count(), 1);
    await pass(250);

    assert.equal(count(), 2);
  });

  test("no socket is opened that is not wanted", async () => {
    let isWanted = false;
    socket = make({ isWanted: () => isWanted });
    socket.connect();
    assert.equal(count(), 0);

    isWanted = true;
    socket.connect();
    assert.equal(count(), 1);
  });

  test("what is sent before the socket is open goes nowhere", async () => {
    socket = make();
    socket.send({ too: "early" });
    socket.connect();
    socket.send({ too: "early" });
    await last().accept();

    assert.deepEqual(last().sent, []);
    assert.equal(socket.isOpen, true);
  });

  test("where there is no page nothing is listened to", async () => {
    const server = await open({ window: undefined, document: undefined });
    await server.end(1006);
    await pass(250);

    assert.equal(count(), 2);
  });
});

describe("disconnecting", () => {
  test("the socket is closed, and no listener and no timer stays", async () => {
    const server = await open();
    assert.equal(listeners(), 8);

    socket.disconnect();

    assert.deepEqual([server.isClosed, socket.isOpen, listeners()], [true, false, 0]);
    const { onopen, onmessage, onclose } = server;
    assert.deepEqual([onopen, onmessage, onclose], [null, null, null]);
    assert.deepEqual(ends, [false]);
    await page.window.fire("online");
    await pass(120_000);
    assert.equal(count(), 1);
  });

  test("disconnecting again does nothing", async () => {
    await open();

    socket.disconnect();
    socket.disconnect();

    assert.deepEqual(ends, [false]);
  });

  test("a socket that waits for its next attempt gives it up", async () => {
    const server = await open();
    await server.end(1006);

    socket.disconnect();
    await pass(120_000);

    assert.equal(count(), 1);
  });

  test("connect() takes it back, and the attempts count anew", async () => {
    const server = await open();
    for (const wait of [250, 500]) {
      await last().end(1006);
      await pass(wait);
    }
    socket.disconnect();

    socket.connect();
    assert.deepEqual([count(), listeners()], [4, 8]);
    await last().end(1006);
    await pass(250);

    assert.equal(count(), 5);
    assert.equal(server.isClosed, true);
  });

  test("a page that is kept aside meanwhile does not keep the next one away", async () => {
    await open();
    await page.window.fire("pagehide", { persisted: true });
    socket.disconnect();

    socket.connect();

    assert.equal(count(), 2);
  });

  test("what hears of the end may disconnect", async () => {
    const server = await open({ closed: () => socket.disconnect() });

    await server.end(1006);
    await pass(120_000);

    assert.deepEqual([count(), listeners()], [1, 0]);
  });
});

describe("coming back", () => {
  test("each attempt waits up to twice as long, at most twelve seconds", async () => {
    await open();

    const waits = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const before = count();
      await last().end(1006);
      let waited = 0;
      for (; count() === before; waited += 50) await pass(50);
      waits.push(waited);
    }

    assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 6000, 6000, 6000]);
    assert.deepEqual(ends, Array(8).fill(false));
  });

  test("the fifth attempt in a row that fails is a line on the console, once", async (t) => {
    const warn = t.mock.method(console, "warn", () => {});
    socket = make();
    socket.connect();

    for (let attempt = 1; attempt <= 20; attempt += 1) {
      assert.equal(warn.mock.callCount(), attempt > 5 ? 1 : 0);
      await last().end(1006);
      await pass(12_000);
    }

    assert.deepEqual(warn.mock.calls[0].arguments, [
      "ws://test/4/: no connection, is the WebSocket let through?",
    ]);
  });

  test("a connection that works starts the count again", async (t) => {
    const warn = t.mock.method(console, "warn", () => {});
    await open();

    for (let attempt = 0; attempt < 20; attempt += 1) {
      await last().end(1006);
      await pass(12_000);
      await last().accept();
      socket.forgetAttempts();
    }

    assert.equal(warn.mock.callCount(), 0);
  });

  test("the address is asked for each time", async () => {
    const server = await open();
    await server.end(1006);
    await pass(250);

    assert.equal(last().url, "ws://test/1/");
  });

  test("forgetAttempts() makes the next attempt the first", async () => {
    await open();
    for (const wait of [250, 500]) {
      await last().end(1006);
      await pass(wait);
    }

    socket.forgetAttempts();
    await last().end(1006);
    await pass(250);

    assert.equal(count(), 4);
  });

  for (const code of [1012, 4008]) {
    test(`after ${code} it returns within two seconds, three times`, async () => {
      await open();

      for (let attempt = 1; attempt <= 3; attempt += 1) {
        await last().end(code);
        await pass(999);
        assert.equal(count(), attempt);
        await pass(1);
        assert.equal(count(), attempt + 1);
      }
      await last().end(code);
      await pass(1_999);
      assert.equal(count(), 4);
      await pass(2_001);

      assert.equal(count(), 5);
    });
  }

  test("after 4403 it is disconnected, and says that it was refused", async () => {
    const server = await open();

    await server.end(4403);
    await pass(120_000);
    assert.deepEqual([ends, count(), listeners()], [[true], 1, 0]);

    socket.connect();
    assert.deepEqual([count(), listeners()], [2, 8]);
  });

  test("what a socket says after it was given up is not heard", async () => {
    const server = await open();
    await server.end(1006);

    await server.say({ too: "late" });
    await server.accept();

    assert.deepEqual([heard, opened], [[], 1]);
  });

  test("giveUp() comes back as after any other end", async () => {
    const server = await open();

    socket.giveUp();
    assert.deepEqual([server.isClosed, count(), ends], [true, 1, [false]]);
    await pass(250);

    assert.equal(count(), 2);
  });

  test("reconnect() replaces the socket at once", async () => {
    const server = await open();
    const { openedAt } = socket;
    await pass(1);

    socket.reconnect();

    assert.deepEqual([server.isClosed, count(), ends], [true, 2, [false]]);
    assert.equal(socket.openedAt, openedAt + 1);
  });

  test("delay() is random, and grows up to its limit", () => {
    socket = make();

    const delays = [0, 1, 4, 5, 60].map((attempts) => socket.delay(attempts));

    assert.deepEqual(delays, [250, 500, 4_000, 6_000, 6_000]);
  });

  test("its times are options", async () => {
    await open({ backoff: 10, longest: 15, restart: 20, patience: 100, tick: 10 });

    assert.deepEqual([socket.delay(0), socket.delay(1)], [5, 7.5]);
    await last().end(1012);
    await pass(10);
    assert.equal(count(), 2);
    await pass(100);

    assert.equal(last().isClosed, true);
  });
});

describe("a server that does not answer", () => {
  const { patience, silence, echo } = DEFAULTS;

  test("a handshake that leads nowhere is given up", async () => {
    socket = make();
    socket.connect();

    await pass(patience - 1);
    assert.equal(last().isClosed, false);
    await pass(1);
    assert.equal(last().isClosed, true);
    await pass(250);

    assert.equal(count(), 2);
  });

  test("after a silence it is sent a ping, and given up without an answer", async () => {
    const server = await open({ ping: () => ({ are: "you there?" }) });

    await pass(silence - 1);
    assert.deepEqual(server.sent, []);
    await pass(1);
    assert.deepEqual(server.sent, [{ are: "you there?" }]);
    await pass(echo - 1);
    assert.equal(server.isClosed, false);
    await pass(1);

    assert.equal(server.isClosed, true);
  });

  test("a cut without a word is noticed within two heartbeats", async () => {
    const server = await open();
    await pass(1); // the checks come at any moment of the silence

    await server.say({ type: "ping" });
    for (let passed = 0; !server.isClosed; passed += 100) {
      assert.ok(passed < 2 * silence);
      await pass(100);
    }

    assert.deepEqual(ends, [false]);
  });

  test("when the browser is offline there is no answer after 2.5 seconds", async () => {
    const server = await open();
    await pass(1_000);

    await page.window.fire("offline");
    assert.deepEqual(server.sent, [{ type: "ping" }]);
    await pass(2_499);
    assert.equal(server.isClosed, false);
    await pass(1);

    assert.deepEqual([server.isClosed, ends], [true, [false]]);
  });

  test("a ping that was on its way when the network went counts", async () => {
    const server = await open();
    await pass(silence);
    await pass(1_000);

    await page.window.fire("offline");
    await pass(2_500);

    assert.deepEqual([server.sent.length, server.isClosed], [1, true]);
  });

  test("a connection that answers does not depend on that network", async () => {
    const server = await open();

    await page.window.fire("offline");
    await server.say({ type: "pong" });
    await pass(20_000);

    assert.deepEqual([server.isClosed, count()], [false, 1]);
  });

  test("a network that comes and goes has no socket replaced twice", async () => {
    await open();

    await page.window.fire("offline");
    await pass(1_000);
    socket.reconnect();
    await last().accept();
    await pass(2_000);

    assert.deepEqual([count(), last().isClosed], [2, false]);
  });

  test("offline is no reason for another attempt", async () => {
    const server = await open();
    await server.end(1006);

    await page.window.fire("offline");
    await pass(249);
    assert.equal(count(), 1);
    await pass(1);

    assert.equal(count(), 2);
  });

  test("a clock that is set back does not hide it", async (t) => {
    const server = await open();
    const { now } = Date;
    t.mock.method(Date, "now", () => now() - 3_600_000);

    await pass(silence);
    assert.deepEqual(server.sent, [{ type: "ping" }]);
    await pass(echo);

    assert.equal(server.isClosed, true);
  });

  test("any message is an answer", async () => {
    const server = await open();
    await pass(silence);

    await server.say({ news: true });
    await pass(silence - 1);

    assert.deepEqual(server.sent, [{ type: "ping" }]);
    assert.equal(server.isClosed, false);
  });

  test("a server that speaks is not asked", async () => {
    const server = await open();

    for (let minute = 0; minute < 10; minute += 1) {
      await pass(25_000);
      await server.say({ type: "ping" });
    }

    assert.deepEqual([server.sent, count()], [[], 1]);
  });

  test("ticked() is called while the socket is open, and only then", async () => {
    let ticks = 0;
    socket = make({ ticked: () => (ticks += 1) });
    socket.connect();
    await pass(5_000);
    assert.equal(ticks, 0);

    await last().accept();
    await pass(5_000);
    assert.equal(ticks, 2);

    socket.disconnect();
    await pass(5_000);
    assert.equal(ticks, 2);
  });
});

describe("the page's life", () => {
  const wakes = {
    online: () => page.window.fire("online"),
    focus: () => page.window.fire("focus"),
    visibilitychange: () => page.document.fire("visibilitychange"),
    pageshow: () => page.window.fire("pageshow", { persisted: true }),
    resume: () => page.document.fire("resume"),
  };

  for (const [name, fire] of Object.entries(wakes)) {
    test(`${name} reconnects at once, and only once`, async () => {
      const server = await open();
      await server.end(1006);

      await fire();
      assert.equal(count(), 2);
      await last().accept();
      await pass(20_000);

      assert.equal(count(), 2);
    });

    test(`${name} makes sure that an open socket lives`, async () => {
      const server = await open();

      await fire();
      assert.deepEqual(server.sent, [{ type: "ping" }]);
      await pass(5_000);

      assert.equal(server.isClosed, true);
    });

    test(`${name} leaves a handshake alone`, async () => {
      socket = make();
      socket.connect();

      await fire();

      assert.equal(count(), 1);
    });
  }

  test("a ping that is not answered yet is not sent again", async () => {
    const server = await open();

    await page.window.fire("online");
    await pass(4_000);
    await page.document.fire("visibilitychange");
    assert.deepEqual(server.sent, [{ type: "ping" }]);
    await pass(1_000);

    assert.equal(server.isClosed, true);
  });

  test("a page that is hidden or loaded does nothing", async () => {
    const server = await open();

    page.document.hidden = true;
    await page.document.fire("visibilitychange");
    await page.window.fire("pageshow", { persisted: false });
    await page.window.fire("pagehide", { persisted: false });

    assert.deepEqual([server.sent, server.isClosed], [[], false]);
  });

  const asides = {
    pagehide: () => page.window.fire("pagehide", { persisted: true }),
    freeze: () => page.document.fire("freeze"),
  };

  for (const [name, fire] of Object.entries(asides)) {
    test(`after ${name} there is no socket until the page is shown again`, async () => {
      const server = await open();

      await fire();
      socket.connect();
      await pass(60_000);
      assert.deepEqual([server.isClosed, count(), ends], [true, 1, [false]]);
      await page.document.fire("resume");

      assert.equal(count(), 2);
    });

    test(`after ${name} the next attempt waits, too`, async () => {
      const server = await open();
      await server.end(1006);

      await fire();
      await pass(60_000);
      assert.equal(count(), 1);
      await page.window.fire("pageshow", { persisted: true });

      assert.equal(count(), 2);
    });
  }
});

// Firefox keeps no page that has a socket when another page is asked for.
describe("the page's life in Firefox", () => {
  let frames;

  const frame = (readyState) => ({
    hidden: false,
    contentDocument: { readyState },
    contentWindow: { WebSocket: class extends FakeSocket {} },
    remove() {
      frames = frames.filter((other) => other !== this);
    },
  });

  const firefox = ({ readyState = "complete" } = {}) => ({
    window: Object.assign(new FakeTarget(), { mozInnerScreenX: 0 }),
    document: Object.assign(new FakeTarget(), {
      createElement: () => frame(readyState),
      documentElement: { append: (element) => frames.push(element) },
    }),
  });

  const openIn = async (browser) => {
    frames = [];
    const server = await open(browser);
    page = browser;
    return server;
  };

  test("the socket belongs to a hidden frame", async () => {
    const server = await openIn(firefox());

    assert.deepEqual(
      frames.map(({ hidden }) => hidden),
      [true],
    );
    assert.ok(server instanceof frames[0].contentWindow.WebSocket);
    socket.disconnect();
    assert.deepEqual(frames, []);
  });

  test("a frame that is not loaded has no socket", async () => {
    const server = await openIn(firefox({ readyState: "uninitialized" }));

    assert.equal(server.constructor, FakeSocket);
  });

  test("when another page is asked for, the frame goes", async () => {
    const server = await openIn(firefox());

    await page.window.fire("beforeunload");

    assert.deepEqual([server.isClosed, frames, ends], [true, [], [false]]);
  });

  test("a page that stays has a socket again", async () => {
    await openIn(firefox());

    await page.window.fire("beforeunload");
    await pass(DEFAULTS.stay - 1);
    assert.equal(count(), 1);
    await pass(1);

    assert.equal(count(), 2);
  });

  test("an attempt that is due waits, too", async () => {
    const server = await openIn(firefox());
    await server.end(1006);

    await page.window.fire("beforeunload");
    await pass(DEFAULTS.stay - 1);

    assert.equal(count(), 1);
  });

  test("a page that comes back reconnects once", async () => {
    await openIn(firefox());

    await page.window.fire("beforeunload");
    await page.window.fire("pagehide", { persisted: true });
    await pass(60_000);
    assert.equal(count(), 1);
    await page.window.fire("pageshow", { persisted: true });
    await last().accept();
    await pass(20_000);

    assert.equal(count(), 2);
  });

  test("other browsers need none of it", async () => {
    const server = await open();

    await page.window.fire("beforeunload");

    assert.equal(server.isClosed, false);
  });
});

describe("the address", () => {
  test("http becomes ws, and what is relative follows the base", () => {
    assert.equal(socketAddress("http://a.test/ws/"), "ws://a.test/ws/");
    assert.equal(socketAddress("https://a.test/ws/"), "wss://a.test/ws/");
    assert.equal(socketAddress("wss://a.test/ws/"), "wss://a.test/ws/");
    assert.equal(socketAddress("/ws/", "https://a.test/b/"), "wss://a.test/ws/");
    assert.equal(socketAddress("ws/", "https://a.test/b/"), "wss://a.test/b/ws/");
  });

  test("the base is that of the page", (t) => {
    t.after(() => delete globalThis.document);
    globalThis.document = { baseURI: "https://a.test/b/" };

    assert.equal(socketAddress("ws/"), "wss://a.test/b/ws/");
  });
});
