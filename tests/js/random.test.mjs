// Visits, restored snapshots, morphs, cut sockets and messages in random order: at every
// moment the page shows its stream's messages from the first to some later one, each once.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { endStage, FakeSocket, makeStage, settle } from "./stage.mjs";

const STEPS = 250;

afterEach(endStage);

for (let seed = 1; seed <= 100; seed += 1) {
  test(`seed ${seed}`, async () => {
    const world = new World(seed);

    for (let step = 0; step < STEPS; step += 1) {
      await world.act();
      assert.deepEqual(world.page.shown, world.log.slice(0, world.page.shown.length));
    }
    await world.calm();

    assert.deepEqual(world.page.shown, world.log);
    assert.equal(
      world.page.sources.every(({ following }) => following),
      true,
    );
  });
}

class World {
  log = [];
  page = { shown: [], sources: [] };
  names = 0;
  cached = [];
  rendered = null; // what a visit has fetched and not yet shown
  delivered = new Map(); // socket → how many of its frames the server has read
  pending = new Map(); // socket → what is on its way to the page
  held = new Map(); // socket → names

  constructor(seed) {
    this.random = mulberry32(seed);
    const render = (html) => this.page.shown.push(Number(html));
    this.stage = makeStage({ renderer: Promise.resolve(render), random: this.random });
    this.rendered = this.render();
    this.visit();
  }

  async act() {
    const roll = this.random();
    if (roll < 0.25) this.publish();
    else if (roll < 0.5) await this.deliver();
    else if (roll < 0.7) await this.read();
    else if (roll < 0.75) this.rendered = this.render();
    else if (roll < 0.8) this.visit();
    else if (roll < 0.83) this.morph();
    else if (roll < 0.86) this.restore();
    else if (roll < 0.88) this.move();
    else if (roll < 0.91) await this.cut();
    else if (roll < 0.92) await this.stage.window.fire("online");
    else await this.stage.pass(this.random() * 400);
    await settle();
  }

  // --- The server

  publish() {
    this.log.push(this.log.length + 1);
    for (const [socket, names] of this.held) {
      if (names.size > 0) this.pending.get(socket).push(this.message(this.log.length));
    }
  }

  message(number) {
    return {
      type: "message",
      stream: "id",
      position: `e:${number}`,
      data: String(number),
    };
  }

  async read() {
    const socket = this.stage.socket;
    if (!this.held.has(socket)) return this.open(socket);
    const frame = socket.sent[this.delivered.get(socket)];
    if (frame === undefined || socket.isClosed) return;
    this.delivered.set(socket, this.delivered.get(socket) + 1);
    const [names, pending] = [this.held.get(socket), this.pending.get(socket)];
    for (const entry of frame.streams ?? []) {
      if (frame.type === "unsubscribe") {
        names.delete(entry);
      } else if (this.random() < 0.1) {
        names.delete(entry.name);
        pending.push({ type: "retry", name: entry.name, reason: "unavailable" });
      } else {
        names.add(entry.name);
        pending.push(...this.replay(entry));
      }
    }
  }

  async open(socket) {
    if (socket.isClosed) return;
    this.held.set(socket, new Set());
    this.pending.set(socket, []);
    this.delivered.set(socket, 0);
    await socket.accept();
  }

  replay({ name, since }) {
    const base = Number(/\d+$/.exec(since)[0]);
    const answer = {
      type: "subscribed",
      name,
      stream: "id",
      position: `e:${base}`,
      recovered: true,
    };
    return [answer, ...this.log.slice(base).map((number) => this.message(number))];
  }

  async deliver() {
    const socket = this.stage.socket;
    const frame = this.pending.get(socket)?.shift();
    if (frame) await socket.say(frame);
  }

  async cut() {
    const socket = this.stage.socket;
    this.held.delete(socket);
    if (!socket.isClosed) await socket.end(this.random() < 0.5 ? 1006 : 1012);
  }

  // --- The page

  render() {
    const names = this.random() < 0.3 ? 2 : 1;
    const since = `@${this.log.length}`;
    const sources = Array.from({ length: names }, () => ({
      name: `a~${(this.names += 1)}`,
      since,
    }));
    return { shown: [...this.log], sources };
  }

  // A second name of the same stream that has had no answer yet cannot write down that
  // the page has come further by the first one's messages.
  isWritten() {
    return new Set(this.page.sources.map(({ since }) => since)).size < 2;
  }

  snapshot() {
    const sources = this.page.sources.map(({ name, since }) => ({ name, since }));
    return { shown: [...this.page.shown], sources };
  }

  visit() {
    if (this.rendered === null) return;
    if (this.isWritten()) this.cached.push(this.snapshot());
    this.replace(this.rendered);
    this.rendered = null;
  }

  restore() {
    const index = Math.floor(this.random() * this.cached.length);
    const snapshot = this.cached[index];
    if (snapshot?.sources.length) this.replace(snapshot);
  }

  replace({ shown, sources }) {
    for (const source of this.page.sources) this.stage.connection.detach(source);
    this.page = { shown: [...shown], sources: this.attach(sources) };
  }

  // The elements stay; what they say and what is around them is the server's.
  morph() {
    if (this.rendered === null) return;
    const old = this.page.sources;
    this.page = { shown: this.rendered.shown, sources: [] };
    for (const source of old) this.stage.connection.detach(source);
    this.page.sources = this.attach(this.rendered.sources);
    this.rendered = null;
  }

  move() {
    if (this.isWritten()) this.replace(this.snapshot());
  }

  attach(places) {
    return places.map(({ name, since }) => this.stage.attach(name, since));
  }

  // No more trouble: let everything arrive.
  async calm() {
    this.random = () => 0.99;
    for (let round = 0; round < 40; round += 1) {
      await this.stage.pass(500);
      for (let frame = 0; frame < 400; frame += 1) {
        const before = this.progress();
        await this.read();
        await this.deliver();
        if (this.progress() === before) break;
      }
    }
  }

  progress() {
    const socket = this.stage.socket;
    return `${FakeSocket.all.length} ${this.delivered.get(socket)} ${this.pending.get(socket)?.length}`;
  }
}

function mulberry32(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
