// What a page says of a stream that it may not have, and when it asks again.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { endStage, makeStage, settle } from "./stage.mjs";

let stage;

beforeEach(() => (stage = makeStage()));
afterEach(endStage);

const deny = (name, reason) => stage.socket.say({ type: "denied", name, reason });
const asked = () => stage.socket.sent.flatMap(({ streams }) => streams ?? []);

async function attachDenied(reason) {
  const source = stage.attach("a~1", "@0.h");
  await stage.socket.accept();
  await deny("a~1", reason);
  return source;
}

function recordConsole(t) {
  const warn = t.mock.method(console, "warn", () => {});
  const line = ({ arguments: words }) => words.join(" ").replace(/^[\w-]+: /, "");
  return () => warn.mock.calls.map(line);
}

describe("the console", () => {
  const lines = {
    expired: "the page refreshes itself",
    forbidden: "the user may not see the stream",
    foreign: "the page is for another user: log in, or look for a cache",
    forged: "signed with another SECRET_KEY: reload the page",
    gone: "the object was deleted",
    limit: "more streams than MAX_STREAMS",
    revoked: "logged out, or access lost: log in, or reload the page",
    unknown: "no such stream",
    "of-a-later-version": "reload the page",
  };

  for (const [reason, advice] of Object.entries(lines)) {
    test(`${reason} is one line, with what to do`, async (t) => {
      const console = recordConsole(t);

      await attachDenied(reason);

      assert.deepEqual(console(), [`denied: ${reason}: ${advice}`]);
    });
  }

  test("a socket that is refused is one line for all streams", async (t) => {
    const console = recordConsole(t);
    for (const name of ["a~1", "b~1", "c~1"]) stage.attach(name, "@0.h");
    await stage.socket.accept();

    await stage.socket.end(4403);

    assert.deepEqual(console(), [`denied: forbidden: ${lines.forbidden}`]);
  });

  test("a morphed page whose new name is denied has its line, too", async (t) => {
    const console = recordConsole(t);
    const old = await stage.connect("a~1", "@0.h", "e:0");

    stage.connection.detach(old);
    stage.attach("a~2", "@1.h");
    await settle();
    await deny("a~2", "gone");

    assert.deepEqual(console(), [`denied: gone: ${lines.gone}`]);
  });

  test("a stream that the page has left is none of its denials", async (t) => {
    const console = recordConsole(t);
    const source = await stage.connect("a~1", "@0.h", "e:0");
    stage.connection.detach(source);

    await deny("a~1", "revoked");

    assert.deepEqual([console(), source.kinds()], [[], ["connected"]]);
  });
});

describe("when the user returns", () => {
  const returns = {
    focus: () => stage.window.fire("focus"),
    visibilitychange: () => stage.document.fire("visibilitychange"),
    online: () => stage.window.fire("online"),
    pageshow: () => stage.window.fire("pageshow", { persisted: true }),
  };

  for (const [name, fire] of Object.entries(returns)) {
    test(`${name} asks again for a name of another user, on a new socket`, async () => {
      const source = await attachDenied("foreign");

      await fire();
      await stage.socket.accept();
      assert.equal(stage.sockets.length, 2);
      assert.deepEqual(asked(), [{ name: "a~1", since: "@0.h" }]);
      await stage.socket.subscribed("a~1", "e:0");

      assert.deepEqual(source.kinds(), ["denied", "connected"]);
      assert.equal(stage.connection.state, "connected");
    });
  }

  test("a name for another user is asked for at each return, and else never", async () => {
    await attachDenied("foreign");

    for (let number = 2; number <= 4; number += 1) {
      await stage.window.fire("focus");
      await stage.socket.accept();
      await deny("a~1", "foreign");
      await stage.pass(120_000);
      assert.equal(stage.sockets.length, number);
    }
  });

  test("events that come together ask once", async () => {
    await attachDenied("foreign");

    await stage.document.fire("visibilitychange");
    await stage.window.fire("focus");
    await stage.socket.accept();
    await stage.window.fire("focus");

    assert.equal(stage.sockets.length, 2);
    assert.deepEqual(asked(), [{ name: "a~1", since: "@0.h" }]);
  });

  test("the same answer as before is not said again", async (t) => {
    const console = recordConsole(t);
    const source = await attachDenied("foreign");
    await stage.pass(60_000);

    await stage.window.fire("focus");
    await stage.socket.accept();
    await deny("a~1", "foreign");

    assert.deepEqual(source.kinds(), ["denied"]);
    assert.equal(console().length, 1);
    assert.deepEqual(stage.states, ["connecting", "denied"]);
  });

  test("after a log-out the page is live again with the next log-in", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:3");
    await deny("a~1", "revoked");

    await stage.window.fire("focus");
    await stage.socket.accept();
    await deny("a~1", "foreign"); // nobody has logged in yet
    await stage.window.fire("focus");
    await stage.socket.accept();
    await stage.socket.subscribed("a~1", "e:3");
    await stage.socket.message("e:4");

    assert.deepEqual(source.kinds(), ["connected", "denied", "denied", "connected"]);
    assert.deepEqual(stage.shown, ["e:4"]);
  });

  for (const reason of ["forbidden", "revoked", "gone"]) {
    test(`what stays ${reason} is asked for only once more`, async () => {
      await attachDenied(reason);

      for (let number = 0; number < 5; number += 1) {
        await stage.window.fire("focus");
        if (stage.sockets.length === 2 && number === 0) {
          await stage.socket.accept();
          await deny("a~1", reason);
        }
      }

      assert.equal(stage.sockets.length, 2);
    });
  }

  test("a cut before the answer does not forget the question", async () => {
    const source = await attachDenied("foreign");
    await stage.window.fire("focus");
    await stage.socket.end(1006);

    await stage.pass(250);
    await stage.socket.accept();
    assert.deepEqual(asked(), [{ name: "a~1", since: "@0.h" }]);
    await stage.socket.subscribed("a~1", "e:0");

    assert.equal(source.kinds().at(-1), "connected");
  });

  test("without a network nothing is asked", async () => {
    await attachDenied("foreign");

    stage.window.navigator.onLine = false;
    await stage.window.fire("offline");
    await stage.window.fire("focus");

    assert.equal(stage.sockets.length, 1);
  });

  test("a page without denied streams keeps its socket", async () => {
    await stage.connect("a~1", "@0.h", "e:0");

    await stage.window.fire("focus");

    assert.equal(stage.sockets.length, 1);
  });

  test("another element of the name is told what the others know", async () => {
    await attachDenied("foreign");
    await stage.window.fire("focus");
    await stage.socket.accept();

    const later = stage.attach("a~1", "@0.h");
    await deny("a~1", "foreign");

    assert.deepEqual(later.kinds(), ["denied"]);
  });

  test("reconnect() asks again for everything that was denied", async () => {
    const gone = await attachDenied("gone");
    await stage.window.fire("focus");
    await stage.socket.accept();
    await deny("a~1", "gone");

    stage.connection.reconnect();
    await stage.socket.accept();
    await stage.socket.subscribed("a~1", "e:0");

    assert.deepEqual(gone.kinds(), ["denied", "connected"]);
    assert.equal(stage.sockets.length, 3);
  });

  test("reconnect() is the way back after 4403", async () => {
    const source = await stage.connect("a~1", "@0.h", "e:0");
    await stage.socket.end(4403);

    stage.connection.reconnect();
    await stage.socket.accept();
    await stage.socket.subscribed("a~1", "e:0");
    await stage.socket.end(1006);
    await stage.window.fire("online");

    assert.equal(stage.sockets.length, 3);
    assert.deepEqual(source.kinds().slice(-2), ["connected", "disconnected"]);
  });
});
