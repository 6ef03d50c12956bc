// A list that follows a binding: its rows, their order, and how it comes back.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { BoundList } from "../../turbo/static/turbo/bindings.js";
import { FakeSocket } from "./sockets.mjs";

// Nothing that a list does waits, so neither does its server.
class ListSocket extends FakeSocket {
  accept() {
    this.onopen();
  }

  say(action, fields) {
    this.onmessage({ data: JSON.stringify({ event: "shop", action, ...fields }) });
  }

  page(version, page, pages, rows) {
    const keys = rows.map(([key]) => key);
    const payload = rows.map(([, value]) => value);
    this.say("sync", { version, page, pages, keys, payload });
  }

  sync(version, rows) {
    this.page(version, 1, 1, rows);
    this.say("sync", { version, payload: "ok" });
  }
}

let list, events, page, socket;

const listen = () => {
  page = { window: new EventTarget(), document: new EventTarget() };
  page.document.baseURI = "https://shop.test/board/";
  list = new BoundList("/ws/shop/", {
    WebSocket: ListSocket,
    random: () => 0.5,
    ...page,
  });
  events = [];
  for (const type of ["change", "connected", "disconnected", "denied", "message"]) {
    list.addEventListener(type, ({ detail }) => events.push([type, detail]));
  }
  return ListSocket.all.at(-1);
};

// Timers that are set on the way come due as well.
const pass = (milliseconds) => {
  for (let passed = 0; passed < milliseconds; passed += 50) mock.timers.tick(50);
};

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
  ListSocket.all = [];
  socket = listen();
});

afterEach(() => {
  list.close();
  mock.timers.reset();
});

describe("following", () => {
  test("all rows are there when the last page is", () => {
    socket.accept();
    socket.page("k:1", 1, 2, [[1, "a"]]);
    const early = list.size;
    socket.page("k:1", 2, 2, [[2, "b"]]);

    assert.equal(early, 0);
    assert.deepEqual(list.entries(), [
      [1, "a"],
      [2, "b"],
    ]);
    assert.deepEqual(events, [["change", { action: "sync" }]]);
  });

  test("each change moves its row to where it belongs", () => {
    socket.accept();
    socket.sync("k:1", [
      [1, "a"],
      [2, "b"],
      [3, "c"],
    ]);
    socket.say("create", { version: "k:2", keys: [4], payload: ["d"], index: 0 });
    socket.say("update", { version: "k:3", keys: [1], payload: ["A"], index: 3 });
    socket.say("delete", { version: "k:4", keys: [2], payload: [{ pk: 2 }] });
    socket.say("order", { version: "k:5", keys: [3, 1, 9] });

    assert.deepEqual(list.entries(), [
      [3, "c"],
      [1, "A"],
      [4, "d"],
    ]);
    assert.equal(list.version, "k:5");
    assert.deepEqual(events.slice(2), [
      ["change", { action: "create", key: 4, value: "d", index: 0 }],
      ["change", { action: "update", key: 1, value: "A", index: 3 }],
      ["change", { action: "delete", key: 2, value: undefined, index: undefined }],
      ["change", { action: "order" }],
    ]);
  });

  test("keys may be of any kind", () => {
    socket.accept();
    socket.sync("k:1", [
      [[1, 2], "seat"],
      ["7f", "uuid"],
    ]);

    assert.equal(list.get([1, 2]), "seat");
    assert.equal(list.get("7f"), "uuid");
    assert.deepEqual(list.values(), ["seat", "uuid"]);
  });

  test("what is sent to a group is a message", () => {
    socket.accept();
    socket.say("notice", { payload: { text: "Five minutes." } });

    assert.deepEqual(events, [
      ["message", { action: "notice", payload: { text: "Five minutes." } }],
    ]);
  });
});

describe("coming back", () => {
  test("it says what it has, and keeps its rows meanwhile", () => {
    socket.accept();
    socket.sync("k:1", [[1, "a"]]);
    socket.onclose({ code: 1006 });
    const meanwhile = list.entries();
    pass(250);
    const next = ListSocket.all.at(-1);
    next.accept();
    next.say("update", { version: "k:2", keys: [1], payload: ["b"], index: 0 });

    assert.equal(socket.url, "wss://shop.test/ws/shop/");
    assert.equal(next.url, "wss://shop.test/ws/shop/?version=k%3A1");
    assert.deepEqual(meanwhile, [[1, "a"]]);
    assert.deepEqual(list.entries(), [[1, "b"]]);
  });

  test("it is connected when the server has said that this was all", () => {
    const states = [];
    const note = () => states.push(list.isConnected);
    note();
    socket.accept();
    list.addEventListener("change", note);
    socket.sync("k:1", [[1, "a"]]);
    note();
    socket.onclose({ code: 1006 });
    note();
    pass(250);
    const next = ListSocket.all.at(-1);
    next.accept();
    next.say("update", { version: "k:2", keys: [1], payload: ["b"], index: 0 });
    next.say("sync", { version: "k:2", payload: "ok" });
    note();
    list.close();
    note();

    assert.deepEqual(states, [false, false, true, false, false, true, false]);
  });

  test("a sync that broke off counts for nothing", () => {
    socket.accept();
    socket.page("k:1", 1, 2, [[1, "a"]]);
    socket.onclose({ code: 1006 });
    pass(250);

    assert.equal(list.size, 0);
    assert.equal(ListSocket.all.at(-1).url, "wss://shop.test/ws/shop/");
  });

  test("it waits longer each time, and at most twelve seconds", () => {
    const waits = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const before = ListSocket.all.length;
      ListSocket.all.at(-1).onclose({ code: 1006 });
      let waited = 0;
      while (ListSocket.all.length === before) (mock.timers.tick(50), (waited += 50));
      waits.push(waited);
    }

    assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 6000, 6000, 6000]);
  });

  test("a restarting server is given some time", () => {
    socket.accept();
    socket.onclose({ code: 1012 });
    mock.timers.tick(999);
    const early = ListSocket.all.length;
    mock.timers.tick(1);

    assert.deepEqual([early, ListSocket.all.length], [1, 2]);
  });

  test("who is refused does not come back", () => {
    socket.accept();
    socket.say("denied", { reason: "forbidden" });
    socket.onclose({ code: 4403 });
    pass(60_000);
    page.window.dispatchEvent(new Event("online"));

    assert.equal(ListSocket.all.length, 1);
    assert.deepEqual(events[0], ["denied", { reason: "forbidden" }]);
  });

  test("a connection that is silent is asked, and given up without an answer", () => {
    socket.accept();
    socket.sync("k:1", []);
    pass(29_000);
    socket.say("ping");
    pass(29_000);
    const early = [...socket.sent];
    pass(9_000);

    assert.deepEqual([early, socket.sent], [[], [{ ping: true }]]);
    assert.deepEqual([socket.isClosed, ListSocket.all.length], [true, 2]);
  });
});

describe("the page's life", () => {
  test("a page that is shown again asks for a sign of life", () => {
    socket.accept();
    page.document.dispatchEvent(new Event("visibilitychange"));
    pass(8_000);

    assert.deepEqual(socket.sent, [{ ping: true }]);
    assert.equal(ListSocket.all.length, 2);
  });

  test("a page that the browser keeps aside holds no socket", () => {
    socket.accept();
    socket.sync("k:1", [[1, "a"]]);
    page.window.dispatchEvent(
      Object.assign(new Event("pagehide"), { persisted: true }),
    );
    pass(60_000);
    const aside = ListSocket.all.length;
    page.window.dispatchEvent(
      Object.assign(new Event("pageshow"), { persisted: true }),
    );

    assert.deepEqual([socket.isClosed, aside, ListSocket.all.length], [true, 1, 2]);
  });

  test("who leaves says so, and is not heard of again", () => {
    socket.accept();
    list.close();
    page.window.dispatchEvent(new Event("online"));
    pass(60_000);

    assert.deepEqual(socket.sent, [{ disconnect: true }]);
    assert.deepEqual([socket.isClosed, ListSocket.all.length], [true, 1]);
  });
});
