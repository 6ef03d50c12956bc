// The page's end of its streams: one WebSocket for all stream sources of the page.
//
//   <meta name="turbo-channels-url" content="/ws/">
//   <turbo-channels-stream-source signed-stream-name="…" since="@…">
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
// attribute `since` always says where the page around its element stands: the moment at
// which the server began to render it ("@…", which only the server can read), later the
// last message applied. So a visit, a cached snapshot, a morph, a frame and a move are
// one case: what came after `since` is applied, in order, once. That includes the morph
// that brings back an older `since`, for it has brought back the older page, too.
//
// Custom actions belong into Turbo.StreamActions. Turbo itself ignores a refresh whose
// request-id is of a request that this page has made.

// Django looks for the semicolon when it gives files hashed names.
import { DEFAULTS, ReconnectingSocket, socketAddress } from "./socket.js";

const TAG = "turbo-channels-stream-source";
const LINGER = 300; // ms that a stream without elements is kept: Turbo moves elements
const BATCH = 50; // entries of a frame, far below the server's limits

/**
 * @import { Environment, Timing } from "./socket.js"
 *
 * @typedef {{ epoch: string, number: number }} Position
 * @typedef {{ epoch: string | null, number: number | null }} Place
 * @typedef {"moved" | "connected" | "disconnected" | "gap" | "denied"} Kind
 * @typedef {{ position?: string, reason?: string }} Detail
 * @typedef {(kind: Kind, detail: Detail) => void} Notify
 * @typedef {Record<string, any>} Frame as the protocol describes them
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

// Where one element stands in its stream. Only the connection writes to it.
export class Source {
  /** @type {string | null} null until the server has said what `since` means */
  epoch = null;
  /** @type {number | null} */
  number = null;
  following = false; // no message of the stream will be missing from now on
  /** @type {Map<string, { epoch: string, first: number, last: number }>} */
  #seen = new Map(); // stream id → what was applied to the page while it was not

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
   * Start at `base`, or as much later as the page around the element has come already.
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

// One signed name, and the elements that hold it.
class Subscription {
  /** @type {Set<Source>} */
  sources = new Set();
  /** @type {string | null} its id, from the last answer */
  stream = null;
  /** @type {string | null} the reason */
  denied = null;
  live = false; // accepted on this socket
  /** @type {string | null} the `since` of the question that is not answered yet */
  asked = null;
  askedAt = 0;
  tries = 0; // questions without an answer
  retries = 0; // answers that said "later"
  /** @type {Timer | null} */
  timer = null;
  madeAt = Date.now();

  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }

  get waiting() {
    return this.denied ? [] : [...this.sources].filter(({ following }) => !following);
  }

  // The earliest `since` that is waited for. Moments go first: only the server can tell.
  get since() {
    /** @type {(one: Place, other: Place) => boolean} */
    const isFirst = (one, other) =>
      one.epoch === null || (one.number ?? 0) <= (other.number ?? 0);
    return this.waiting.reduce((one, other) => (isFirst(one, other) ? one : other))
      .since;
  }

  settle() {
    clearTimeout(this.timer ?? undefined);
    Object.assign(this, { asked: null, timer: null, tries: 0 });
  }
}

/**
 * @typedef {ReturnType<typeof setTimeout>} Timer
 * @typedef {{ stream: string, epoch?: string, number?: number }} Message
 * @typedef {(html: string, message: Message) => void} Render
 *
 * @typedef {object} Stream
 * @property {string} id
 * @property {string | null} epoch
 * @property {number} number the last that came
 * @property {number | null} repairedAt where followers stood at the last repair
 *
 * @typedef {object} ConnectionOptions
 * @property {() => string} url
 * @property {Promise<Render>} renderer
 * @property {() => void} settled called when no source waits
 * @property {() => boolean} [isVisiting] whether the page is being replaced
 * @property {number} [linger]
 */

// The subscriptions on the socket of the page, and the order of their messages.
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
  /** @type {Timer | undefined} */
  #leaving;

  /** @param {ConnectionOptions & Environment & Timing} options */
  constructor(options) {
    const defaults = { ...DEFAULTS, linger: LINGER, isVisiting: () => false };
    this.#options = { ...defaults, ...options };
    this.#socket = new ReconnectingSocket({
      ...options,
      isWanted: () => this.#isWaiting,
      opened: () => this.#askAll(),
      received: (frame) => this.#receive(frame),
      closed: (end) => this.#closed(end),
      ticked: () => this.#askAgain(),
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
    subscription.denied = null;
    const stream = subscription.live && this.#streamOf(subscription);
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

  // --- Subscriptions

  /**
   * What is asked for within one microtask travels in one frame.
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
    for (const subscription of due) {
      Object.assign(subscription, { asked: subscription.since, askedAt: Date.now() });
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
    for (const subscription of this.#subscriptions.values()) this.#ask(subscription);
  }

  // Ask again what was not answered. A second time it is the socket that does not answer.
  #askAgain() {
    const since = Date.now() - this.#options.patience;
    /** @param {Subscription} subscription */
    const isLate = ({ asked, askedAt }) => asked !== null && askedAt <= since;
    const late = [...this.#subscriptions.values()].filter(isLate);
    if (late.some(({ tries }) => tries > 0)) return this.#socket.giveUp();
    for (const subscription of late) {
      this.#settle(subscription);
      subscription.tries = 1;
      this.#ask(subscription);
    }
  }

  /** @param {{ isRefused: boolean }} end */
  #closed({ isRefused }) {
    for (const subscription of this.#subscriptions.values()) {
      subscription.settle();
      subscription.live = false;
      if (subscription.denied) continue;
      if (isRefused) this.#deny(subscription, "forbidden");
      else for (const source of subscription.sources) source.stop("disconnected");
    }
  }

  // Not during a visit: the new page may want the streams, and a preview holds none.
  #leaveLater() {
    const { linger, isVisiting } = this.#options;
    clearTimeout(this.#leaving);
    this.#leaving = setTimeout(
      () => (isVisiting() ? this.#leaveLater() : this.#leave()),
      linger,
    );
  }

  // Give up the streams that no element shows any more; return how many there were. Wait
  // for answers on their way: they could be taken for the answer to a later question.
  #leave() {
    const empty = [...this.#subscriptions.values()].filter(
      ({ sources }) => !sources.size,
    );
    if (empty.length === this.#subscriptions.size) this.#socket.disconnect();
    const left = empty.filter(({ asked }) => asked === null);
    for (const subscription of left) {
      subscription.settle();
      this.#subscriptions.delete(subscription.name);
    }
    /** @type {Set<string | null>} */
    const kept = new Set([...this.#subscriptions.values()].map(({ stream }) => stream));
    for (const id of this.#streams.keys()) if (!kept.has(id)) this.#streams.delete(id);
    const held = left.filter(({ denied }) => !denied);
    this.#sendAll(
      "unsubscribe",
      held.map(({ name }) => name),
    );
    return left.length;
  }

  /** @param {Frame} frame */
  #receive(frame) {
    const subscription = this.#subscriptions.get(frame.name);
    const stream = this.#streams.get(frame.stream);
    if (stream && frame.type === "message") this.#take(stream, frame);
    if (stream && frame.type === "gap") this.#lose(stream, parse(frame.position));
    if (subscription && frame.type === "subscribed") this.#accept(subscription, frame);
    if (subscription && frame.type === "denied") this.#deny(subscription, frame.reason);
    if (subscription && frame.type === "retry") this.#postpone(subscription);
    if (frame.type === "error") console.warn(`${TAG}: ${frame.reason}`, frame.detail);
  }

  /**
   * The answer is followed by everything after its position, also by what came before it.
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
    Object.assign(subscription, { live: true, stream: id, retries: 0 });
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
    this.#settle(subscription);
    // The streams of the page before count until they are left: make room, ask again.
    if (reason === "limit" && this.#leave()) return this.#ask(subscription);
    // The socket may be older than the log-in for which the page was rendered.
    if (reason === "foreign" && subscription.madeAt > this.#socket.openedAt) {
      return this.#socket.reconnect();
    }
    Object.assign(subscription, { live: false, denied: reason });
    for (const source of subscription.sources) source.stop("denied", { reason });
    if (!this.#isWaiting) this.#options.settled();
  }

  /** @param {Subscription} subscription */
  #postpone(subscription) {
    const delay = this.#socket.delay(subscription.retries);
    this.#settle(subscription);
    subscription.live = false;
    subscription.retries += 1;
    for (const source of subscription.sources) source.stop("disconnected");
    subscription.timer = setTimeout(() => {
      subscription.timer = null;
      this.#ask(subscription);
    }, delay);
  }

  /** @param {Subscription} subscription */
  #settle(subscription) {
    subscription.settle();
    if (subscription.sources.size === 0) this.#leaveLater();
  }

  /** @param {Subscription} subscription */
  #streamOf({ stream }) {
    return stream === null ? undefined : this.#streams.get(stream);
  }

  get #isWaiting() {
    return [...this.#subscriptions.values()].some(({ waiting }) => waiting.length > 0);
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
   * Without a replay log there are no numbers: live messages, and no promise.
   *
   * @type {(stream: Stream, data: string) => void}
   */
  #takeUnnumbered(stream, data) {
    if (this.#followers(stream).length === 0) return;
    if (this.#render) this.#show(data, { stream: stream.id });
    else this.#lose(stream, null);
  }

  /** @type {Render} */
  #show(data, message) {
    try {
      this.#render?.(data, message);
    } catch (error) {
      console.error(error); // one bad message must not hold up the others
    }
  }

  /** @type {(id: string, at: Position, data: string) => void} */
  #apply(id, at, data) {
    this.#show(data, { stream: id, ...at });
    for (const { stream, sources } of this.#subscriptions.values()) {
      for (const source of sources) {
        const isNext = source.epoch === at.epoch && source.number === at.number - 1;
        if (stream === id && isNext) source.move(at);
        else if (!source.following) source.see(id, at);
      }
    }
  }

  /** @param {Stream} stream */
  #followers({ id }) {
    const mine = [...this.#subscriptions.values()].filter(
      ({ stream }) => stream === id,
    );
    return mine.flatMap(({ sources }) => [...sources].filter((one) => one.following));
  }

  /**
   * What the follower that stands furthest back has; the others have had what follows.
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
   * Nobody can say what happened until `at`: go on from there, and say so.
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
   * Ask for what followers missed: there was no Turbo yet, or the server left a hole,
   * which it never does twice at the same place.
   *
   * @param {Stream} stream
   */
  #repair(stream) {
    const low = this.#low(stream);
    if (low >= stream.number) return;
    if (stream.repairedAt === low) return this.#lose(stream, positionOf(stream));
    stream.repairedAt = low;
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.stream !== stream.id) continue;
      for (const source of subscription.sources)
        source.following &&= Number(source.number) > low;
      this.#ask(subscription);
    }
  }
}

// --- Turbo

/**
 * What is used of Turbo.
 *
 * @typedef {object} Turbo
 * @property {(html: string) => void} renderStreamMessage
 * @property {(url: string, options: object) => void} visit
 * @property {typeof fetch} [fetch]
 * @property {Navigator} [navigator]
 *
 * @typedef {object} Navigator
 * @property {{ refresh?: object }} [currentVisit]
 * @property {{ renderPromise?: Promise<void> }} [view]
 *
 * @typedef {HTMLElement & { action: string }} StreamElement
 * @typedef {{ newStream: StreamElement, render: (stream: StreamElement) => void }} Rendering
 */

/**
 * Show `html` at once; Turbo itself would in the next frame. So it is certain into which
 * page it goes, also while a visit replaces the page and while the page is hidden.
 *
 * @param {Turbo} Turbo
 * @returns {Render}
 */
function rendererOf(Turbo) {
  /** @type {Map<string, { epoch?: string, number: number, repeated: number }>} */
  const refreshes = new Map(); // by stream id

  return (html, { stream, epoch, number }) => {
    /** @type {CustomEvent<Rendering>[]} */
    const events = [];
    /** @param {any} event */
    const collect = (event) => events.push(event);
    addEventListener("turbo:before-stream-render", collect, true);
    try {
      Turbo.renderStreamMessage(html);
    } finally {
      removeEventListener("turbo:before-stream-render", collect, true);
    }
    const shown = events.filter(({ defaultPrevented }) => !defaultPrevented);
    /** @param {CustomEvent<Rendering>} event */
    const isRefresh = ({ detail }) => detail.newStream.action === "refresh";
    const isStale = shown.some(isRefresh) && isRepeated({ stream, epoch, number });
    for (const event of shown) {
      if (isStale && isRefresh(event)) event.detail.render = () => {};
      else renderNow(event.detail);
    }
  };

  /**
   * A page that comes out of a cache has the refresh again among what it missed: it would
   * refresh itself for ever. Three repetitions are enough for a page that was prefetched.
   *
   * @param {Message} message
   */
  function isRepeated({ stream, epoch, number }) {
    const last = refreshes.get(stream);
    if (number === undefined) return false;
    if (last && last.epoch === epoch && number <= last.number)
      return ++last.repeated > 3;
    refreshes.set(stream, { epoch, number, repeated: 0 });
    return false;
  }
}

/**
 * Turbo awaits the same promise, removes the element then, and reports what went wrong.
 *
 * @param {Rendering} detail
 */
function renderNow(detail) {
  const { newStream, render } = detail;
  const rendering = (async () => render(newStream))();
  rendering.catch(() => {});
  detail.render = () => rendering;
}

// --- Healing

const HISTORY = "turbo-channels-refreshes";

/**
 * @typedef {{ rounds: number, at: number }} History
 *
 * @typedef {object} RefresherOptions
 * @property {Promise<Turbo>} turbo
 * @property {number} [pause]
 * @property {number} [rounds]
 * @property {number} [calm]
 * @property {() => number} [random]
 */

// Fetches the page anew and has Turbo morph it, once for all streams that lost something.
//
// It waits for visits and forms that are on their way, where Turbo would cancel them.
class Refresher {
  #options;
  /** @type {Set<Source>} */
  #sources = new Set();
  /** @type {Timer | null} */
  #timer = null;
  #isRunning = false;
  #answers = 0; // to forms, on their way
  #failures = 0;
  /** @type {History} */
  #history = { rounds: 0, at: 0 };

  /** @param {RefresherOptions} options */
  constructor(options) {
    const defaults = { pause: 1_000, rounds: 5, calm: 60_000, random: Math.random };
    this.#options = { ...defaults, ...options };
    const finish = (/** @type {any} */ { detail }) => this.#awaitAnswer(detail);
    this.#options.turbo.then(() => addEventListener("turbo:submit-end", finish));
  }

  /** @param {Source} source */
  request(source) {
    this.#sources.add(source);
    this.#options.turbo.then((Turbo) => this.#schedule(Turbo));
  }

  /**
   * The element has left, or has got a new place from the server.
   *
   * @param {Source} source
   */
  release(source) {
    this.#sources.delete(source);
  }

  // Every stream is followed: what is lost from now on is not the refresh's fault.
  settled() {
    if (this.#sources.size === 0 && this.#rounds > 0) this.#rounds = 0;
  }

  get #rounds() {
    const { rounds, at } = recall() ?? this.#history;
    return Date.now() - at < this.#options.calm ? rounds : 0;
  }

  set #rounds(rounds) {
    this.#history = { rounds, at: Date.now() };
    remember(this.#history);
  }

  /**
   * At random, for all pages of a server that has lost its log come at the same time;
   * and ever later, for the page may come from a cache and bring the same loss again.
   *
   * @param {Turbo} Turbo
   */
  #schedule(Turbo) {
    if (this.#timer !== null || this.#isRunning || this.#sources.size === 0) return;
    const { pause, rounds, random } = this.#options;
    if (this.#rounds >= rounds) {
      this.#sources.clear();
      return console.warn(`${TAG}: no refresh helps, the page may be out of date`);
    }
    const failed = Math.min(this.#rounds + this.#failures, 5);
    this.#later(Turbo, pause * (random() + (failed && 2 ** failed)));
  }

  /** @type {(Turbo: Turbo, delay: number) => void} */
  #later(Turbo, delay) {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#run(Turbo);
    }, delay);
  }

  /** @param {Turbo} Turbo */
  async #run(Turbo) {
    if (this.#sources.size === 0) return;
    if (this.#isBusy(Turbo)) return this.#later(Turbo, this.#options.pause / 4);
    this.#isRunning = true;
    try {
      await this.#refresh(Turbo, location.href);
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      console.warn(`${TAG}: the page could not be refreshed`, error);
    } finally {
      this.#isRunning = false;
      this.#schedule(Turbo);
    }
  }

  /**
   * Turbo would show whatever comes, and load the page where nothing comes: look first.
   *
   * @param {Turbo} Turbo
   * @param {string} url
   */
  async #refresh(Turbo, url) {
    const headers = { Accept: "text/html, application/xhtml+xml" };
    const response = await (Turbo.fetch ?? fetch)(url, { headers, cache: "reload" });
    const { ok, status, redirected } = response;
    const responseHTML = await response.text();
    if (status >= 500) throw new Error(`status ${status}`);
    if (location.href !== url || this.#isBusy(Turbo) || this.#sources.size === 0)
      return;
    this.#rounds += 1;
    if (redirected) return Turbo.visit(response.url, { action: "replace" });
    if (ok) morph(Turbo, url, { statusCode: status, responseHTML, redirected });
  }

  /**
   * For Turbo a form has ended when the head of the answer is there; the page changes when
   * the rest is.
   *
   * @param {{ fetchResponse?: { responseHTML: Promise<unknown> } }} detail
   */
  async #awaitAnswer({ fetchResponse }) {
    this.#answers += 1;
    try {
      await fetchResponse?.responseHTML;
    } catch {
      // Turbo says what is wrong with an answer.
    } finally {
      setTimeout(() => (this.#answers -= 1)); // Turbo begins to show it before that
    }
  }

  /** @param {Turbo} Turbo */
  #isBusy({ navigator }) {
    if (this.#answers || navigator?.currentVisit || navigator?.view?.renderPromise)
      return true;
    const busy = "html[aria-busy=true], form[aria-busy=true]";
    return document.querySelector(busy) !== null;
  }
}

/**
 * Across page loads, for there are pages that Turbo can only refresh by loading them.
 *
 * @returns {History | null}
 */
function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(HISTORY) ?? "null");
  } catch {
    return null;
  }
}

/** @param {History} history */
function remember(history) {
  try {
    sessionStorage.setItem(HISTORY, JSON.stringify(history));
  } catch {
    // The user may have told the browser to store nothing.
  }
}

/** @type {(Turbo: Turbo, url: string, response: object) => void} */
function morph(Turbo, url, response) {
  const refresh = { method: "morph", scroll: "preserve" };
  Turbo.visit(url, {
    action: "replace",
    shouldCacheSnapshot: false,
    response,
    refresh,
  });
}

/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Field */

/**
 * A morph by Turbo sets every field back to what the server rendered, also the one with
 * the focus. Nobody at this page has asked for a refresh, be it ours or a broadcast one,
 * so what has been typed stays, and so does a frame with a form that the page lacks.
 *
 * @param {Turbo} Turbo
 */
function keepTyped({ navigator }) {
  /** @param {any} event */
  const keep = (event) => {
    const isRefresh = "method" in (navigator?.currentVisit?.refresh ?? {});
    const { newElement } = event.detail;
    if (!isRefresh || !newElement) return;
    if (isTyped(event.target) || isInUse(event.target, newElement))
      event.preventDefault();
  };
  addEventListener("turbo:before-morph-element", keep);
}

/** @type {(frame: Element, newFrame: Element) => boolean} */
function isInUse(frame, newFrame) {
  if (frame.localName !== "turbo-frame") return false;
  /** @param {Field} field */
  const isWanted = (field) => isTyped(field) || field === document.activeElement;
  /** @param {Field} field */
  const isLacking = ({ name }) =>
    !newFrame.querySelector(`[name="${CSS.escape(name)}"]`);
  /** @type {NodeListOf<Field>} */
  const fields = frame.querySelectorAll("input, textarea, select");
  return [...fields].some((field) => isWanted(field) && isLacking(field));
}

/** @param {any} element */
function isTyped(element) {
  if (element.isContentEditable) return element === document.activeElement;
  if (element instanceof HTMLSelectElement) return isChosen(element);
  const { value, defaultValue = value, checked, defaultChecked } = element;
  return value !== defaultValue || checked !== defaultChecked;
}

/** @param {HTMLSelectElement} select */
function isChosen({ options, multiple }) {
  const preset = [...options].filter(({ defaultSelected }) => defaultSelected);
  const usual = preset.length || multiple ? preset : [options[0]];
  return [...options].some((option) => option.selected !== usual.includes(option));
}

// --- The page

const isBrowser = globalThis.customElements !== undefined;
const whenDefined = isBrowser && customElements.whenDefined("turbo-stream");
/** @type {Promise<Turbo>} */
const turbo = whenDefined ? whenDefined.then(turboOfPage) : new Promise(() => {});
const refresher = new Refresher({ turbo });
turbo.then(keepTyped);
const connection = new Connection({
  url: addressOfStreams,
  renderer: turbo.then(rendererOf),
  settled: () => refresher.settled(),
  isVisiting: () => Boolean(turboOfPage()?.navigator?.currentVisit),
});

// Not there before it is loaded.
function turboOfPage() {
  return /** @type {any} */ (window).Turbo;
}

function addressOfStreams() {
  /** @type {HTMLMetaElement | null} */
  const meta = document.querySelector('meta[name="turbo-channels-url"]');
  return socketAddress(meta?.content || "/ws/", location.href);
}

/**
 * A preview is a picture of the page. What Turbo carries through it goes on living.
 *
 * @param {Element} element
 */
const isPreview = (element) =>
  document.documentElement.hasAttribute("data-turbo-preview") &&
  element.closest("[data-turbo-permanent]") === null;

// Has the attribute `connected` while it is, and `denied` with the reason if it may not;
// fires turbo-stream:connected, :disconnected, :gap (cancelable: prevents the refresh of
// the page) and :denied, which bubble and have { name, position, reason } as detail.
class StreamSourceElement extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["signed-stream-name", "since", "connected"];

  /** @type {Source | null} */
  #source = null;
  #isConnected = false;
  #isChanging = false;

  connectedCallback() {
    this.removeAttribute("denied");
    if (!isPreview(this)) this.#join();
    this.#isConnected = this.#source?.following ?? false;
    this.toggleAttribute("connected", this.#isConnected);
  }

  disconnectedCallback() {
    this.#part();
  }

  // A morph sets attributes one by one, and takes away what the server does not know.
  attributeChangedCallback() {
    if (this.#source === null || this.#isChanging) return;
    this.#isChanging = true;
    queueMicrotask(() => this.#change());
  }

  #change() {
    this.#isChanging = false;
    if (this.#source === null) return;
    const { name, since } = this.#source;
    const [newName, newSince] = this.#attributes;
    if (name !== newName || since !== newSince) {
      this.#part();
      this.removeAttribute("denied");
      this.#join();
    }
    this.toggleAttribute("connected", this.#isConnected);
  }

  #join() {
    const [name, since] = this.#attributes;
    if (!name) return;
    /** @type {Notify} */
    const notify = (kind, detail) => this.#notice(source, kind, detail);
    const source = new Source({ name, since, notify });
    this.#source = source;
    connection.attach(source);
  }

  #part() {
    if (this.#source === null) return;
    connection.detach(this.#source);
    refresher.release(this.#source);
    this.#source = null;
  }

  get #attributes() {
    return ["signed-stream-name", "since"].map((name) => this.getAttribute(name) ?? "");
  }

  /**
   * What hears an event may take the element out of the page.
   *
   * @type {(source: Source, kind: Kind, detail: Detail) => void}
   */
  #notice(source, kind, { reason, position = source.since }) {
    if (kind === "moved") return this.setAttribute("since", position);
    if (kind === "connected" || kind === "disconnected")
      return this.#show(source, kind);
    if (kind === "denied") {
      this.#show(source, "disconnected");
      this.setAttribute("denied", reason ?? "");
    }
    const isWanted = this.#fire(source, kind, { reason, position });
    const isLost = kind === "gap" || reason === "expired";
    if (isWanted && isLost && source === this.#source) refresher.request(source);
  }

  /** @type {(source: Source, kind: Kind) => void} */
  #show(source, kind) {
    const isConnected = kind === "connected";
    if (isConnected === this.#isConnected) return;
    this.#isConnected = isConnected;
    this.toggleAttribute("connected", isConnected);
    this.#fire(source, kind);
  }

  /** @type {(source: Source, kind: Kind, detail?: Detail) => boolean} */
  #fire({ name, since }, kind, { reason, position = since } = {}) {
    const detail = { name, position, reason };
    const options = { bubbles: true, cancelable: kind === "gap", detail };
    return this.dispatchEvent(new CustomEvent(`turbo-stream:${kind}`, options));
  }
}

// Not twice, should the page load the module under two addresses.
if (isBrowser && !customElements.get(TAG))
  customElements.define(TAG, StreamSourceElement);
