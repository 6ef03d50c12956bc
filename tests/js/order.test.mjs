// Which messages are shown, and when: in order, once, and a loss is never silent.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { endStage, makeStage, settle } from "./stage.mjs";

let stage;

beforeEach(() => (stage = makeStage()));
afterEach(endStage);

const gaps = (source) => source.notices.filter(([kind]) => kind === "gap");

describe("one stream under two names", () => {
  test("each message is shown once", async () => {
    const one = stage.attach("a~1", "@0.h");
    const other = stage.attach("a~2", "@0.h");
    await stage.socket.accept();

    // Each subscription has its own replay; live messages come once.
    await stage.socket.subscribed("a~1", "e:1");
    for (const number of [2, 3]) await stage.socket.message(`e:${number}`);
    await stage.socket.subscribed("a~2", "e:1");
    for (const number of [2, 3, 4]) await stage.socket.message(`e:${number}`);

    assert.deepEqual(stage.shown, ["e:2", "e:3", "e:4"]);
    assert.deepEqual([one.since, other.since], ["e:4", "e:4"]);
  });

  test("the one that leaves does not take the other's messages along", async () => {
    const one = await stage.connect("a~1", "@0.h", "e:1");
    const other = stage.attach("a~2", "@0.h");
    await settle();
    await stage.socket.subscribed("a~2", "e:1");

    stage.connection.detach(one);
    await stage.pass(300);
    await stage.socket.message("e:2");

    assert.deepEqual(stage.shown, ["e:2"]);
    assert.equal(other.since, "e:2");
  });
});

describe("a page that is older than its stream", () => {
  test("what the page misses is shown although its stream has come further", async () => {
    const old = await stage.connect("a~1", "@0.h", "e:1");
    for (const number of [2, 3]) await stage.socket.message(`e:${number}`);

    // A visit: the new page was begun after message 1, and shown after message 3.
    stage.connection.detach(old);
    stage.shown.length = 0;
    const source = stage.attach("a~2", "@1.h");
    await settle();
    await stage.socket.message("e:4");
    assert.deepEqual(stage.shown, []);
    await stage.socket.subscribed("a~2", "e:1");
    for (const number of [2, 3, 4, 5]) await stage.socket.message(`e:${number}`);

    assert.deepEqual(stage.shown, ["e:2", "e:3", "e:4", "e:5"]);
    assert.equal(source.since, "e:5");
  });

  test("so it is when the new page has the same name", async () => {
    const old = await stage.connect("a~1", "@0.h", "e:1");
    for (const number of [2, 3]) await stage.socket.message(`e:${number}`);

    stage.connection.detach(old);
    stage.shown.length = 0;
    stage.attach("a~1", "e:2");
    await settle();
    assert.deepEqual(stage.socket.sent[1].streams, [{ name: "a~1", since: "e:2" }]);
    await stage.socket.subscribed("a~1", "e:2");
    await stage.socket.message("e:3");

    assert.deepEqual(stage.shown, ["e:3"]);
  });

  test("what came while it waited counts as shown", async () => {
    await stage.connect("a~1", "@0.h", "e:1");
    const frame = stage.attach("a~2", "@1.h");
    await settle();

    await stage.socket.message("e:2");
    await stage.socket.subscribed("a~2", "e:1");
    for (const number of [2, 3]) await stage.socket.message(`e:${number}`);

    assert.deepEqual(stage.shown, ["e:2", "e:3"]);
    assert.equal(frame.since, "e:3");
  });

  test("a part of the page that is behind gets everything after its position", async () => {
    await stage.connect("a~1", "@0.h", "e:1");
    for (const number of [2, 3]) await stage.socket.message(`e:${number}`);
    stage.attach("a~2", "@1.h");
    await settle();

    await stage.socket.subscribed("a~2", "e:1");
    for (const number of [2, 3, 4]) await stage.socket.message(`e:${number}`);

    assert.deepEqual(stage.shown.slice(2), ["e:2", "e:3", "e:4"]);
  });
});

describe("losses", () => {
  test("a history that cannot be proved is a gap, and live messages follow", async () => {
    const source = stage.attach("a~1", "@0.h");
    await stage.socket.accept();

    await stage.socket.subscribed("a~1", "e:9", { recovered: false });
    await stage.socket.message("e:10");

    assert.deepEqual(gaps(source), [["gap", { position: "e:9" }]]);
    assert.deepEqual(stage.shown, ["e:10"]);
  });

  test("a gap frame moves every source of its stream", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:1");
    const other = stage.attach("b~1", "@0.h");
    await settle();
    await stage.socket.subscribed("b~1", "e:1", { stream: "other" });

    await stage.socket.say({ type: "gap", stream: "id", position: "e:5" });
    await stage.socket.message("e:5");
    await stage.socket.message("e:6");

    assert.deepEqual(gaps(source), [["gap", { position: "e:5" }]]);
    assert.deepEqual(gaps(other), []);
    assert.deepEqual(stage.shown, ["e:6"]);
  });

  test("a gap that the page is past already is none", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:5");

    await stage.socket.say({ type: "gap", stream: "id", position: "e:4" });

    assert.deepEqual(gaps(source), []);
  });

  test("a gap without a position is told, too", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:5");

    await stage.socket.say({ type: "gap", stream: "id", position: "" });

    assert.deepEqual(gaps(source), [["gap", { position: "e:5" }]]);
  });

  test("a new epoch is a gap for those who know the old one", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:5");

    await stage.socket.message("f:2");
    await stage.socket.message("f:3");

    assert.deepEqual(gaps(source), [["gap", { position: "f:1" }]]);
    assert.deepEqual(stage.shown, ["f:2", "f:3"]);
  });

  test("a second name in a new epoch is a gap for the first", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:5");
    const fresh = stage.attach("a~2", "@1.h");
    await settle();

    await stage.socket.subscribed("a~2", "f:1");
    await stage.socket.message("f:2");

    assert.deepEqual(gaps(source), [["gap", { position: "f:1" }]]);
    assert.deepEqual(gaps(fresh), []);
    assert.deepEqual(stage.shown, ["f:2"]);
  });

  test("an old epoch after a reconnect is a gap", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:5");
    await stage.socket.end(1006);
    await stage.pass(250);
    await stage.socket.accept();

    await stage.socket.subscribed("a~1", "f:2", { recovered: false });
    await stage.socket.message("f:3");

    assert.deepEqual(gaps(source), [["gap", { position: "f:2" }]]);
    assert.deepEqual(stage.shown, ["f:3"]);
  });

  test("a hole is filled from the log, in order", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:1");

    await stage.socket.message("e:3");
    assert.deepEqual(stage.socket.sent[1].streams, [{ name: "a~1", since: "e:1" }]);
    await stage.socket.subscribed("a~1", "e:1");
    for (const number of [2, 3, 4]) await stage.socket.message(`e:${number}`);

    assert.deepEqual(stage.shown, ["e:2", "e:3", "e:4"]);
    assert.deepEqual(gaps(source), []);
  });

  test("a hole that cannot be filled is a gap", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:1");
    await stage.socket.message("e:3");
    await stage.socket.subscribed("a~1", "e:1");

    await stage.socket.message("e:3");
    await stage.socket.message("e:4");

    assert.deepEqual(gaps(source), [["gap", { position: "e:3" }]]);
    assert.deepEqual(stage.shown, ["e:4"]);
  });

  test("one bad message does not hold up the next", async (t) => {
    t.mock.method(console, "error", () => {});
    const shown = [];
    const render = (html) => {
      if (html === "e:2") throw new Error("bad");
      shown.push(html);
    };
    endStage();
    stage = makeStage({ renderer: Promise.resolve(render) });
    await stage.connect("a~1", "@0.h", "e:1");

    for (const number of [2, 3]) await stage.socket.message(`e:${number}`);

    assert.deepEqual(shown, ["e:3"]);
  });
});

describe("before Turbo is there", () => {
  let arrive;

  beforeEach(() => {
    endStage();
    stage = makeStage({ renderer: new Promise((resolve) => (arrive = resolve)) });
  });

  test("what came too early is asked for again", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:1");
    for (const number of [2, 3]) await stage.socket.message(`e:${number}`);
    assert.equal(source.since, "e:1");

    arrive((html) => stage.shown.push(html));
    await settle();
    assert.deepEqual(stage.socket.sent[1].streams, [{ name: "a~1", since: "e:1" }]);
    await stage.socket.subscribed("a~1", "e:1");
    for (const number of [2, 3, 4]) await stage.socket.message(`e:${number}`);

    assert.deepEqual(stage.shown, ["e:2", "e:3", "e:4"]);
    assert.deepEqual(source.kinds(), ["connected", "connected"]);
  });

  test("nothing is asked again where nothing came", async () => {
    await stage.connect("a~1", "@0.h", "e:1");

    arrive(() => {});
    await settle();

    assert.equal(stage.socket.sent.length, 1);
  });

  test("what has no number and cannot be shown is a gap", async () => {
    const source = await stage.connect("a~1", "@", "");

    await stage.socket.message("", { data: "live" });

    assert.deepEqual(gaps(source), [["gap", { position: "@" }]]);
  });
});

describe("without a replay log", () => {
  test("live messages are shown, and the next socket asks for no more", async () => {
    const source = await stage.connect("a~1", "@", "");
    await stage.socket.message("", { data: "one" });
    await stage.socket.message("", { data: "two" });
    await stage.socket.end(1006);
    await stage.pass(250);
    await stage.socket.accept();

    assert.deepEqual(stage.shown, ["one", "two"]);
    assert.deepEqual(source.kinds(), ["connected", "disconnected"]);
    assert.deepEqual(stage.socket.sent[0].streams, [{ name: "a~1", since: "@" }]);
  });

  test("nothing is shown for a page that is gone", async () => {
    const source = await stage.connect("a~1", "@", "");
    stage.connection.detach(source);

    await stage.socket.message("", { data: "late" });

    assert.deepEqual(stage.shown, []);
  });
});

describe("the events of a message", () => {
  const before = "turbo-channels:before-message";
  const after = "turbo-channels:message";

  test("each message has one before and one after it is shown", async () => {
    const order = [];
    stage.fire = (name) => order.push([name, [...stage.shown]]) > 0;
    await stage.connect("a~1", "@0.h", "e:1");
    order.length = 0;

    await stage.socket.message("e:2");

    assert.deepEqual(order, [
      [before, []],
      [after, ["e:2"]],
    ]);
  });

  test("they have the stream, the position and the HTML", async () => {
    await stage.connect("a~1", "@0.h", "e:1");

    await stage.socket.message("e:2", { data: "<p>" });

    const detail = { stream: "id", position: "e:2", html: "<p>" };
    assert.deepEqual(stage.events, [
      [before, detail],
      [after, detail],
    ]);
  });

  test("without a replay log there is no position", async () => {
    await stage.connect("a~1", "@", "");

    await stage.socket.message("", { data: "live" });

    const positions = stage.events.map(([, { position }]) => position);
    assert.deepEqual(positions, ["", ""]);
  });

  test("one that is cancelled is not shown, and counts as applied", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:1");
    stage.fire = (name, { position }, isCancelable) =>
      !(isCancelable && position === "e:2");

    await stage.socket.message("e:2");
    await stage.socket.message("e:3");
    await stage.socket.end(1006);
    await stage.pass(250);
    await stage.socket.accept();

    assert.deepEqual(stage.shown, ["e:3"]);
    assert.deepEqual(source.kinds(), ["connected", "disconnected"]);
    assert.deepEqual(stage.socket.sent[0].streams, [{ name: "a~1", since: "e:3" }]);
  });

  test("what is not shown for being known has none", async () => {
    await stage.connect("a~1", "@0.h", "e:2");

    await stage.socket.message("e:1");
    await stage.socket.message("e:2");

    assert.deepEqual(stage.events, []);
  });

  test("an invalid message has only the one before", async (t) => {
    t.mock.method(console, "error", () => {});
    endStage();
    const fail = () => {
      throw new Error("invalid");
    };
    stage = makeStage({ renderer: Promise.resolve(fail) });
    const source = await stage.connect("a~1", "@0.h", "e:1");

    await stage.socket.message("e:2");

    assert.deepEqual(
      stage.events.map(([name]) => name),
      [before],
    );
    assert.equal(source.since, "e:2");
  });
});
