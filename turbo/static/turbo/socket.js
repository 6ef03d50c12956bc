// One reconnecting WebSocket, which the clients of pages, observers and bindings share.
//
//   const socket = new ReconnectingSocket({ url: () => "wss://…", received: show })
//   socket.connect()
//   socket.send({ type: "ping" })
//   socket.disconnect()
//
// connect() opens the socket and listens to the events of the page; disconnect() undoes
// both. Between the two, a socket that ends is replaced: after a random time that grows
// with each attempt, or at once when the network is back or the page is shown again.
//
// A server that has said nothing for `silence` is sent a ping. If it says nothing for
// `echo` after that, the socket is given up and replaced.

export const DEFAULTS = {
  backoff: 500, // reconnect after random() * backoff * 2 ** attempts, …
  longest: 12_000, // … at most
  restart: 2_000, // … or random() * restart when the server asks to come back
  patience: 10_000, // for the handshake
  silence: 30_000, // send a ping after hearing nothing for so long
  echo: 5_000, // for the answer to a ping
  tick: 2_500, // how often the clock is looked at for those
  random: Math.random,
};

const COME_BACK = [1012, 4008]; // the server restarts; this client was too slow
const STAY_AWAY = 4403;

/** @typedef {Partial<typeof DEFAULTS>} Timing */

/**
 * What a socket needs of its environment. Tests put their own here.
 *
 * @typedef {object} Environment
 * @property {typeof WebSocket} [WebSocket]
 * @property {EventTarget} [window] without it nothing is known of the page's life
 * @property {EventTarget & { hidden?: boolean, baseURI?: string }} [document]
 */

/**
 * What the owner of a socket says and hears.
 *
 * @typedef {object} Owner
 * @property {() => string} url asked for each time that a socket is opened
 * @property {(message: any) => void} received
 * @property {() => void} [opened]
 * @property {(end: { isRefused: boolean }) => void} [closed] called for each socket; one
 *   that was refused is not replaced, and disconnect() has been done
 * @property {() => boolean} [isWanted] whether a socket is to be opened at all
 * @property {() => object} [ping] the message that asks the server for an answer
 * @property {() => void} [ticked] called now and then while the socket is open
 */

export class ReconnectingSocket {
  #options;
  /** @type {WebSocket | null} */
  #socket = null;
  #isOpen = false;
  #isSuspended = false;
  #attempts = 0;
  #openedAt = 0;
  #heardAt = 0;
  /** @type {number | null} when a ping was sent that is not answered yet */
  #pingedAt = null;
  /** @type {Timer} */
  #returning;
  /** @type {Timer} */
  #ticking;
  /** @type {AbortController | null} */
  #listening = null;

  /** @param {Owner & Environment & Timing} options */
  constructor(options) {
    this.#options = { ...environment(), ...OWNER, ...DEFAULTS, ...options };
  }

  get isOpen() {
    return this.#isOpen;
  }

  // When the present socket was made, its handshake included.
  get openedAt() {
    return this.#openedAt;
  }

  // Open the socket, unless it is open or waits for its next attempt.
  connect() {
    this.#listen();
    if (this.#returning === undefined) this.#open();
  }

  disconnect() {
    this.#end({ isRefused: false });
  }

  // Replace the socket at once.
  reconnect() {
    this.#drop({ isRefused: false });
    this.#openNow();
  }

  // The server does not answer: give the socket up, and come back later.
  giveUp() {
    this.#comeBack(this.delay(this.#attempts));
  }

  // The server does what it should: the next attempt is the first again.
  forgetAttempts() {
    this.#attempts = 0;
  }

  /**
   * Return how long to wait before something is tried again.
   *
   * @param {number} attempts how often it was tried
   */
  delay(attempts) {
    const { random, backoff, longest } = this.#options;
    return random() * Math.min(longest, backoff * 2 ** attempts);
  }

  /**
   * Send `message`. While the socket is not open nothing is sent.
   *
   * @param {object} message
   */
  send(message) {
    if (this.#isOpen) this.#socket?.send(JSON.stringify(message));
  }

  // --- The socket

  #open() {
    if (this.#socket || this.#isSuspended || !this.#options.isWanted()) return;
    this.#socket = new this.#options.WebSocket(this.#options.url());
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = ({ data }) => this.#received(data);
    this.#socket.onclose = ({ code }) => this.#closed(code);
    this.#openedAt = this.#heardAt = Date.now();
    this.#ticking = setInterval(() => this.#tick(), this.#options.tick);
  }

  #openNow() {
    clearTimeout(this.#returning);
    this.#returning = undefined;
    this.#open();
  }

  #opened() {
    this.#isOpen = true;
    this.#heardAt = Date.now();
    this.#options.opened();
  }

  /** @param {string} text */
  #received(text) {
    this.#heardAt = Date.now();
    this.#pingedAt = null;
    this.#options.received(JSON.parse(text));
  }

  /** @param {number} code */
  #closed(code) {
    if (code === STAY_AWAY) return this.#end({ isRefused: true });
    const { random, restart } = this.#options;
    const isAsked = COME_BACK.includes(code) && this.#attempts < 3;
    this.#comeBack(isAsked ? random() * restart : this.delay(this.#attempts));
  }

  /** @param {number} delay */
  #comeBack(delay) {
    this.#attempts += 1;
    this.#returning = setTimeout(() => this.#openNow(), delay);
    this.#drop({ isRefused: false });
  }

  /** @param {{ isRefused: boolean }} end */
  #end(end) {
    this.#listening?.abort();
    this.#listening = null;
    clearTimeout(this.#returning);
    this.#returning = undefined;
    this.#isSuspended = false;
    this.#attempts = 0;
    this.#drop(end);
  }

  /**
   * Forget the socket: whatever it still says is not heard.
   *
   * @param {{ isRefused: boolean }} end
   */
  #drop(end) {
    if (this.#socket === null) return;
    Object.assign(this.#socket, { onopen: null, onmessage: null, onclose: null });
    this.#socket.close();
    clearInterval(this.#ticking);
    this.#socket = null;
    this.#isOpen = false;
    this.#pingedAt = null;
    this.#options.closed(end);
  }

  #tick() {
    const { patience, echo, silence } = this.#options;
    const now = Date.now();
    const quiet = now - this.#heardAt;
    const isLate = this.#pingedAt !== null && now - this.#pingedAt >= echo;
    if (isLate || (!this.#isOpen && quiet >= patience)) return this.giveUp();
    if (!this.#isOpen) return;
    if (quiet >= silence) this.#ping();
    this.#options.ticked();
  }

  #ping() {
    if (this.#pingedAt !== null) return;
    this.#pingedAt = Date.now();
    this.send(this.#options.ping());
  }

  // --- The page's life

  #listen() {
    if (this.#listening) return;
    this.#listening = new AbortController();
    const { window, document } = this.#options;
    const { signal } = this.#listening;
    /** @type {(target: EventTarget | undefined, name: string, act: (event: any) => void) => void} */
    const on = (target, name, act) => target?.addEventListener(name, act, { signal });
    on(window, "pagehide", ({ persisted }) => persisted && this.#suspend());
    on(window, "pageshow", ({ persisted }) => persisted && this.#wake());
    on(document, "freeze", () => this.#suspend());
    on(document, "resume", () => this.#wake());
    on(document, "visibilitychange", () => document?.hidden || this.#wake());
    on(window, "online", () => this.#wake());
  }

  // A page that the browser keeps aside may hold no socket.
  #suspend() {
    this.#isSuspended = true;
    clearTimeout(this.#returning);
    this.#drop({ isRefused: false });
  }

  // A socket that has slept may be dead: send a ping.
  #wake() {
    this.#isSuspended = false;
    if (this.#isOpen) this.#ping();
    else this.#openNow();
  }
}

/** @typedef {ReturnType<typeof setTimeout> | undefined} Timer */

// What an owner need not say.
const OWNER = {
  opened: () => {},
  closed: () => {},
  isWanted: () => true,
  ping: () => ({ type: "ping" }),
  ticked: () => {},
};

// In a worker there is no window and no document, and in Node nothing to listen to.
function environment() {
  const { WebSocket, document } = globalThis;
  const window = "addEventListener" in globalThis ? globalThis : undefined;
  return { WebSocket, window, document };
}

/**
 * Return the address of a WebSocket.
 *
 * @param {string} url of any scheme; without one it is relative to `base`
 * @param {string} [base] by default that of the page
 */
export function socketAddress(url, base = baseOfPage()) {
  return new URL(url, base).href.replace(/^http/, "ws");
}

function baseOfPage() {
  const { document, location } = globalThis;
  return document?.baseURI ?? location?.href;
}
