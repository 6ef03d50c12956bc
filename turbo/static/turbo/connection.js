// The subscriptions of a page: it applies the messages of each stream once, in order.
//
//   → {"type":"subscribe","streams":[{"name":"<signed>","since":"@…"}]}
//   ← {"type":"subscribed","name":"<signed>","stream":"<id>","position":"k3:7",
//      "recovered":true}
//   ← {"type":"message","stream":"<id>","position":"k3:8","data":"<turbo-stream …>…"}
//   ← {"type":"gap","stream":"<id>","position":"k3:9"}
//   ← {"type":"denied","name":"<signed>","reason":"forbidden"}
//   ← {"type":"retry","name":"<signed>","reason":"unavailable"}
//   → {"type":"unsubscribe","streams":["<signed>"]}
//
// A position is "<epoch>:<number>", and the numbers of a stream have no holes. The
// attribute `since` always says which messages the page around its element contains: at
// first those before the server began to render it ("@…", which only the server can
// read), later those up to the last one applied. So a visit, a cached snapshot, a
// morph, a frame and a move are the same case: the messages after `since` are applied
// once, in order. A morph may also bring back an older `since`, because it brings back
// the older page.

// Django finds imports by the semicolon when it hashes the names of files.
import { DEFAULTS, ReconnectingSocket, distance } from "./socket.js";

export const TAG = "turbo-channels-stream-source";
const LINGER = 300; // ms to keep a stream without elements: Turbo moves elements
const BATCH = 50; // entries of a frame, far below the server's limits

/** @type {Record<string, string>} what the console says about a denied stream */
const DENIALS = {
  expired: "the page refreshes itself",
  forbidden: "the user may not see the stream",
  foreign: "the page is for another user: log in, or look for a cache",
  forged: "signed with another SECRET_KEY: reload the page",
  gone: "the object was deleted",
  limit: "more streams than MAX_STREAMS",
  revoked: "logged out, or access lost: log in, or reload the page",
  unknown: "no such stream",
};

/**
 * @import { Environment, Timer, Timing } from "./socket.js"
 *
 * @typedef {{ epoch: string, number: number }} Position
 * @typedef {{ epoch: string | null, number: number | null }} Place
 * @typedef {"moved" | "connected" | "disconnected" | "gap" | "denied"} Kind
 * @typedef {{ position?: string, reason?: string }} Detail
 * @typedef {(kind: Kind, detail: Detail) => void} Notify
 * @typedef {Record<string, any>} Frame see the protocol
 */

/**
 * @param {string | null} [position]
 * @returns {Position | null}
 */
function parse(position) {
  const [, epoch, number] = /^([0-9a-z]+):(\d+)$/i.exec(position ?? "") ?? [];
  return epoch === undefined ? null : { epoch, number: Number(number) };
}

/** @type {(one: Place, other: Place) => boolean} */
const isAhead = (one, other) =>
  one.epoch === other.epoch && (one.number ?? 0) >= (other.number ?? 0);

/** @type {(place: Place) => Position | null} */
const positionOf = ({ epoch, number }) =>
  epoch === null || number === null ? null : { epoch, number };

// The position of one element in its stream. Only the connection writes to it.
export class Source {
  /** @type {string | null} null until the server has sent the position of `since` */
  epoch = null;
  /** @type {number | null} */
  number = null;
  following = false; // the element gets all further messages of the stream
  /** @type {Map<string, { epoch: string, first: number, last: number }>} */
  #seen = new Map(); // stream id → messages applied to the page while not following

  /** @param {{ name: string, since?: string, notify: Notify }} options */
  constructor({ name, since, notify }) {
    this.name = name;
    this.since = since ?? "";
    this.notify = notify;
    Object.assign(this, parse(since));
  }

  /** @param {Position} position */
  move({ epoch, number }) {
    if (epoch === this.epoch && number === this.number) return;
    Object.assign(this, { epoch, number, since: `${epoch}:${number}` });
    this.notify("moved", { position: this.since });
  }

  /** @type {(id: string, position: Position) => void} */
  see(id, { epoch, number }) {
    const seen = this.#seen.get(id);
    const isNext = seen?.epoch === epoch && seen.last === number - 1;
    this.#seen.set(id, { epoch, first: isNext ? seen.first : number, last: number });
  }

  /**
   * Start at `base`, or later if further messages have been applied to the page.
   *
   * @param {string} id
   * @param {Position | null} base
   */
  follow(id, base) {
    const seen = this.#seen.get(id);
    if (base && seen?.epoch === base.epoch && seen.first <= base.number + 1) {
      this.move({ ...base, number: Math.max(base.number, seen.last) });
    } else if (base) this.move(base);
    this.following = true;
    this.#seen.clear();
    this.notify("connected", { position: this.since });
  }

  /** @type {(kind: Kind, detail?: Detail) => void} */
  stop(kind, detail = {}) {
    this.following = false;
    this.notify(kind, detail);
  }
}

// One signed name, and its elements.
class Subscription {
  /** @type {Set<Source>} */
  sources = new Set();
  /** @type {string | null} the stream's id, from the last answer */
  stream = null;
  /** @type {string | null} the reason */
  denied = null;
  /** @type {string | null} the reason of the last denial, if it was asked for again */
  was = null;
  live = false; // accepted on this socket
  /** @type {string | null} the `since` of the request that is not answered yet */
  asked = null;
  askedAt = 0;
  tries = 0; // requests without an answer
  retries = 0; // answers that asked to try again later
  /** @type {Timer} */
  timer;
  madeAt = Date.now();

  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }

  get waiting() {
    return this.denied ? [] : [...this.sources].filter(({ following }) => !following);
  }

  // Another session may be admitted. Only a name for another user is worth more than one
  // more question.
  get mayReturn() {
    const { denied, was, sources } = this;
    return sources.size && denied && (denied === "foreign" || denied !== was);
  }

  // The earliest `since` of a waiting source. Moments come first: only the server can
  // compare them.
  get since() {
    /** @type {(one: Place, other: Place) => boolean} */
    const isFirst = (one, other) =>
      one.epoch === null || (one.number ?? 0) <= (other.number ?? 0);
    return this.waiting.reduce((one, other) => (isFirst(one, other) ? one : other))
      .since;
  }

  settle() {
    clearTimeout(this.timer);
    this.asked = null;
    this.timer = undefined;
    this.tries = 0;
  }
}

/**
 * @typedef {"idle" | "connecting" | "connected" | "disconnected" | "offline"
 *   | "denied" | "stale"} State
 * @typedef {{ stream: string, epoch?: string, number?: number }} Message
 * @typedef {(html: string, message: Message) => void | Promise<unknown>} Render
 *
 * @typedef {object} Stream
 * @property {string} id
 * @property {string | null} epoch
 * @property {number} number the number of the last message
 * @property {number | null} repairedAt the number of the followers at the last repair
 *
 * @typedef {object} ConnectionOptions
 * @property {() => string} url
 * @property {Promise<Render>} renderer
 * @property {() => void} settled called when no source waits
 * @property {(name: string, detail: object, cancelable?: boolean) => boolean} [fire]
 *   dispatch an event of the page, and return whether it was not cancelled
 * @property {() => boolean} [isVisiting] whether Turbo is replacing the page
 * @property {() => boolean} [isStale] whether the page has given up catching up
 */

// The subscriptions on the page's socket. It applies their messages in order.
export class Connection {
  #options;
  #socket;
  /** @type {Render | null} */
  #render = null;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map(); // by signed name
  /** @type {Map<string, Stream>} */
  #streams = new Map(); // by id
  /** @type {Set<Subscription>} */
  #asking = new Set();
  /** @type {Timer} */
  #leaving;
  /** @type {Map<string, number>} reason → time of its last line on the console */
  #warned = new Map();
  /** @type {State} the last one that was reported */
  #state = "idle";
  #isNoting = false;

  /** @param {ConnectionOptions & Environment & Timing} options */
  constructor(options) {
    this.#options = { ...DEFAULTS, ...options };
    this.#socket = new ReconnectingSocket({
      ...options,
      isWanted: () => this.#isWaiting,
      opened: () => this.#askAll(),
      received: (frame) => this.#receive(frame),
      closed: (end) => this.#closed(end),
      ticked: () => this.#askAgain(),
      pageChanged: () => this.#pageChanged(),
    });
    this.#options.renderer.then((render) => {
      this.#render = render;
      for (const stream of this.#streams.values()) this.#repair(stream);
    });
  }

  /** @param {Source} source */
  attach(source) {
    const { name } = source;
    const subscription = this.#subscriptions.get(name) ?? new Subscription(name);
    this.#subscriptions.set(name, subscription);
    subscription.sources.add(source);
    subscription.denied = subscription.was = null;
    const stream = subscription.live && this.#streams.get(subscription.stream ?? "");
    if (stream && isAhead(source, stream)) source.follow(stream.id, positionOf(source));
    else this.#ask(subscription);
    this.#socket.connect();
  }

  /** @param {Source} source */
  detach(source) {
    this.#subscriptions.get(source.name)?.sources.delete(source);
    source.following = false;
    this.#leaveLater();
  }

  /**
   * What the page may say of its streams. What was denied and is asked for again stays
   * denied until it is accepted.
   *
   * @returns {State}
   */
  get state() {
    const used = this.#all.filter(({ sources }) => sources.size);
    const open = used.filter(({ was, waiting }) => !was && waiting.length);
    if (!this.#subscriptions.size) return "idle";
    if (!open.length && used.some(({ denied, was }) => denied ?? was)) return "denied";
    if (!open.length && this.#socket.isOpen)
      return this.#options.isStale?.() ? "stale" : "connected";
    if (this.#socket.isOffline) return "offline";
    const isFailing = this.#socket.attempts || open.some(({ retries }) => retries);
    return isFailing ? "disconnected" : "connecting";
  }

  /**
   * Open a new socket, whose handshake sends the cookies of the present session, and ask
   * again for what was denied.
   */
  reconnect(denied = this.#all) {
    if (!denied.length) return;
    for (const one of denied) {
      one.was = one.denied ?? one.was;
      one.denied = null;
    }
    this.#socket.reconnect();
    this.#socket.connect();
  }

  /**
   * Return the id of the stream of a signed name while the server sends its messages.
   *
   * @param {string} name
   */
  streamOf(name) {
    const { live, stream } = this.#subscriptions.get(name) ?? {};
    return live ? stream : null;
  }

  /** @param {object} frame */
  send(frame) {
    this.#socket.send(frame);
  }

  // The user may have logged in again in another tab.
  #pageChanged() {
    this.noteState();
    if (!this.#socket.isOffline)
      this.reconnect(this.#all.filter((one) => one.mayReturn));
  }

  // Report the state if it has changed, once for all that happens in one task.
  noteState() {
    if (this.#isNoting) return;
    this.#isNoting = true;
    queueMicrotask(() => {
      this.#isNoting = false;
      const [previous, state] = [this.#state, this.state];
      this.#state = state;
      const detail = { state, previous };
      if (state !== previous) this.#options.fire?.("turbo-channels:state", detail);
    });
  }

  // --- Subscriptions

  /**
   * Subscribe; all requests of one microtask are sent in one frame.
   *
   * @param {Subscription} subscription
   */
  #ask(subscription) {
    if (this.#asking.size === 0) queueMicrotask(() => this.#sendQuestions());
    this.#asking.add(subscription);
  }

  #sendQuestions() {
    /** @param {Subscription} subscription */
    const isDue = ({ asked, timer, waiting }) => !timer && asked === null && waiting[0];
    const due = this.#socket.isOpen ? [...this.#asking].filter(isDue) : [];
    this.#asking.clear();
    this.noteState();
    for (const subscription of due) {
      subscription.asked = subscription.since;
      subscription.askedAt = Date.now();
    }
    this.#sendAll(
      "subscribe",
      due.map(({ name, asked }) => ({ name, since: asked })),
    );
  }

  /** @type {(type: string, entries: unknown[]) => void} */
  #sendAll(type, entries) {
    for (let start = 0; start < entries.length; start += BATCH) {
      this.#socket.send({ type, streams: entries.slice(start, start + BATCH) });
    }
  }

  #askAll() {
    for (const subscription of this.#all) this.#ask(subscription);
  }

  // Repeat requests that were not answered. After the second one, replace the socket.
  #askAgain() {
    const { patience } = this.#options;
    /** @param {Subscription} subscription */
    const isLate = ({ asked, askedAt }) =>
      asked !== null && distance(askedAt) >= patience;
    const late = this.#all.filter(isLate);
    if (late.some(({ tries }) => tries > 0)) return this.#socket.giveUp();
    for (const subscription of late) {
      this.#settle(subscription);
      subscription.tries = 1;
      this.#ask(subscription);
    }
  }

  /** @param {{ isRefused: boolean }} end */
  #closed({ isRefused }) {
    for (const subscription of this.#all) {
      subscription.settle();
      subscription.live = false;
      if (subscription.denied ?? subscription.was) continue;
      if (isRefused) this.#deny(subscription, "forbidden");
      else for (const source of subscription.sources) source.stop("disconnected");
    }
    this.noteState();
  }

  // Wait for the end of a visit: a preview has no streams, and the new page may need
  // them.
  #leaveLater() {
    const { isVisiting } = this.#options;
    clearTimeout(this.#leaving);
    this.#leaving = setTimeout(
      () => (isVisiting?.() ? this.#leaveLater() : this.#leave()),
      LINGER,
    );
  }

  // Leave the streams that have no elements any more, and return their number. Keep
  // those whose answer is on its way: it could be mistaken for the answer to a later
  // request.
  #leave() {
    const empty = this.#all.filter(({ sources }) => !sources.size);
    if (empty.length === this.#subscriptions.size) this.#socket.disconnect();
    const left = empty.filter(({ asked }) => asked === null);
    for (const subscription of left) {
      subscription.settle();
      this.#subscriptions.delete(subscription.name);
    }
    /** @type {Set<string | null>} */
    const kept = new Set(this.#all.map(({ stream }) => stream));
    for (const id of this.#streams.keys()) if (!kept.has(id)) this.#streams.delete(id);
    const held = left.filter(({ denied }) => !denied);
    this.#sendAll(
      "unsubscribe",
      held.map(({ name }) => name),
    );
    this.noteState();
    return left.length;
  }

  /** @param {Frame} frame */
  #receive(frame) {
    const { type, name, position, reason } = frame;
    const subscription = this.#subscriptions.get(name);
    const stream = this.#streams.get(frame.stream);
    if (type === "error") console.warn(`${TAG}: ${reason}`, frame.detail);
    if (type !== "message") this.noteState();
    if (stream && type === "message") this.#take(stream, frame);
    if (stream && type === "gap") this.#lose(stream, parse(position));
    if (subscription && type === "subscribed") this.#accept(subscription, frame);
    if (subscription && type === "denied") this.#deny(subscription, reason);
    if (subscription && type === "retry") this.#postpone(subscription);
  }

  /**
   * After the answer come all messages after its position, even those sent before.
   *
   * @param {Subscription} subscription
   * @param {Frame} answer
   */
  #accept(subscription, { stream: id, position, recovered }) {
    const { asked } = subscription;
    const base = parse(position);
    /** @type {Stream} */
    const fresh = { id, epoch: null, number: 0, repairedAt: null };
    const stream = this.#streams.get(id) ?? fresh;
    this.#streams.set(id, stream);
    this.#settle(subscription);
    Object.assign(subscription, { live: true, stream: id, retries: 0, was: null });
    this.#socket.forgetAttempts();
    if (base && stream.epoch !== base.epoch) this.#lose(stream, base);
    if (base) this.#reach(stream, base);
    for (const source of subscription.waiting) {
      if (recovered && base && isAhead(source, base))
        source.follow(id, positionOf(source));
      else if (source.since === asked) source.follow(id, base);
      if (source.following && !recovered) source.notify("gap", { position });
    }
    if (subscription.waiting.length) this.#ask(subscription);
    if (!this.#isWaiting) this.#options.settled();
  }

  /** @type {(subscription: Subscription, reason: string) => void} */
  #deny(subscription, reason) {
    const { madeAt, sources, was } = subscription;
    this.#settle(subscription);
    // The streams of the page before still count: leave them, and ask again.
    if (reason === "limit" && this.#leave()) return this.#ask(subscription);
    // The socket may have been opened before the user logged in: open a new one.
    if (reason === "foreign" && madeAt > this.#socket.openedAt)
      return this.#socket.reconnect();
    subscription.live = false;
    subscription.denied = reason;
    if (reason !== was && sources.size) {
      this.#warn(reason);
      for (const source of sources) source.stop("denied", { reason });
    }
    if (!this.#isWaiting) this.#options.settled();
  }

  /**
   * Write one line for all streams of a page that are denied for one reason.
   *
   * @param {string} reason
   */
  #warn(reason) {
    const last = Number(this.#warned.get(reason)); // NaN for the first time
    if (distance(last) < this.#options.patience) return;
    this.#warned.set(reason, Date.now());
    console.warn(`${TAG}: denied: ${reason}:`, DENIALS[reason] ?? "reload the page");
  }

  /** @param {Subscription} subscription */
  #postpone(subscription) {
    const delay = this.#socket.delay(subscription.retries);
    this.#settle(subscription);
    subscription.live = false;
    subscription.retries += 1;
    for (const source of subscription.sources) source.stop("disconnected");
    subscription.timer = setTimeout(() => {
      subscription.timer = undefined;
      this.#ask(subscription);
    }, delay);
  }

  /** @param {Subscription} subscription */
  #settle(subscription) {
    subscription.settle();
    if (subscription.sources.size === 0) this.#leaveLater();
  }

  get #all() {
    return [...this.#subscriptions.values()];
  }

  get #isWaiting() {
    return this.#all.some(({ waiting }) => waiting.length > 0);
  }

  // --- Messages

  /** @type {(stream: Stream, frame: Frame) => void} */
  #take(stream, { position, data }) {
    const at = parse(position);
    if (at === null) return this.#takeUnnumbered(stream, data);
    if (at.epoch !== stream.epoch) this.#lose(stream, { ...at, number: at.number - 1 });
    this.#reach(stream, at);
    const low = this.#low(stream);
    if (this.#render === null || at.number <= low) return;
    if (at.number === low + 1) this.#apply(stream.id, at, data);
    else this.#repair(stream);
  }

  /**
   * Without a replay log there are no numbers: messages are shown, and may be lost.
   *
   * @type {(stream: Stream, data: string) => void}
   */
  #takeUnnumbered(stream, data) {
    if (this.#followers(stream).length === 0) return;
    if (this.#render) this.#show(data, { stream: stream.id });
    else this.#lose(stream, null);
  }

  /**
   * A message that is cancelled counts as applied.
   *
   * @type {Render}
   */
  #show(html, message) {
    const { fire } = this.#options;
    const { stream, epoch, number } = message;
    const detail = { stream, position: epoch ? `${epoch}:${number}` : "", html };
    try {
      if (fire?.("turbo-channels:before-message", detail, true) === false) return;
      const shown = Promise.resolve(this.#render?.(html, message));
      shown.then(() => fire?.("turbo-channels:message", detail));
    } catch (error) {
      console.error(error); // an invalid message must not stop the others
    }
  }

  /** @type {(id: string, at: Position, data: string) => void} */
  #apply(id, at, data) {
    this.#show(data, { stream: id, ...at });
    for (const { stream, sources } of this.#all) {
      for (const source of sources) {
        const isNext = source.epoch === at.epoch && source.number === at.number - 1;
        if (stream === id && isNext) source.move(at);
        else if (!source.following) source.see(id, at);
      }
    }
  }

  /** @param {Stream} stream */
  #followers({ id }) {
    const mine = this.#all.filter(({ stream }) => stream === id);
    return mine.flatMap(({ sources }) => [...sources].filter((one) => one.following));
  }

  /**
   * Return the lowest number of all followers; the others already have later messages.
   *
   * @param {Stream} stream
   */
  #low(stream) {
    return Math.min(...this.#followers(stream).map(({ number }) => number ?? Infinity));
  }

  /** @type {(stream: Stream, at: Position) => void} */
  #reach(stream, at) {
    if (at.epoch === stream.epoch) stream.number = Math.max(stream.number, at.number);
    else Object.assign(stream, at, { repairedAt: null });
  }

  /**
   * Continue at `at`, and notify the sources that messages before it are lost.
   *
   * @type {(stream: Stream, at: Position | null) => void}
   */
  #lose(stream, at) {
    if (at) this.#reach(stream, at);
    for (const source of this.#followers(stream)) {
      if (at && isAhead(source, at)) continue;
      if (at) source.move(at);
      source.notify("gap", { position: source.since });
    }
  }

  /**
   * Ask for messages that followers have missed, because Turbo was not loaded yet or
   * the server has left out numbers. If it leaves out the same ones again, they are
   * lost.
   *
   * @param {Stream} stream
   */
  #repair(stream) {
    const low = this.#low(stream);
    if (low >= stream.number) return;
    if (stream.repairedAt === low) return this.#lose(stream, positionOf(stream));
    stream.repairedAt = low;
    for (const subscription of this.#all) {
      if (subscription.stream !== stream.id) continue;
      for (const source of subscription.sources)
        source.following &&= Number(source.number) > low;
      this.#ask(subscription);
    }
  }
}
