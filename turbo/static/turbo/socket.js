// A reconnecting WebSocket for the clients of pages, observers and bindings.
//
//   const socket = new ReconnectingSocket({ url: () => "wss://…", received: show })
//   socket.connect()
//   socket.send({ type: "ping" })
//   socket.disconnect()
//
// connect() opens the socket and listens to the events of the page; disconnect() undoes
// both. Between the two, a socket that closes is replaced: after a random time that
// grows with each attempt, or at once when the network is back or the page is shown
// again.
//
// If the server has sent nothing for `silence`, it gets a ping. If it sends nothing for
// `echo` after that, the socket is replaced. If the browser says that the network is
// gone, the server gets a ping at once, and has only `doubt` for the answer.

export const DEFAULTS = {
  backoff: 500, // reconnect after random() * backoff * 2 ** attempts, …
  longest: 12_000, // … at most
  restart: 2_000, // … or random() * restart when the server asks to reconnect
  stay: 2_000, // from asking for another page, which may be a download (Firefox)
  patience: 10_000, // for the handshake
  silence: 30_000, // without a message before a ping is sent
  echo: 5_000, // for the answer to a ping
  doubt: 2_500, // for the answer to a ping when the browser says it is offline
  tick: 2_500, // between two checks of these times
  random: Math.random,
};

const COME_BACK = [1012, 4008]; // the server restarts; this client was too slow
const STAY_AWAY = 4403;
const PATIENT = 5; // failed attempts before a line on the console

/** @typedef {Partial<typeof DEFAULTS>} Timing */

/**
 * The parts of the browser that a socket uses. Tests can replace them.
 *
 * @typedef {object} Environment
 * @property {typeof WebSocket} [WebSocket]
 * @property {EventTarget & { navigator?: { onLine?: boolean } }} [window] for events of
 *   the page: shown, hidden, online
 * @property {EventTarget & { hidden?: boolean, baseURI?: string }} [document]
 */

/**
 * The callbacks of the owner of a socket.
 *
 * @typedef {object} Owner
 * @property {() => string} url called each time before a socket opens
 * @property {(message: any) => void} received
 * @property {() => void} [opened]
 * @property {(end: { isRefused: boolean }) => void} [closed] called for each socket; one
 *   that was refused is not replaced, as if disconnect() had been called
 * @property {() => boolean} [isWanted] whether to open a socket at all
 * @property {() => object} [ping] the message that asks the server for an answer
 * @property {() => void} [ticked] called at each `tick` while the socket is open
 * @property {() => void} [pageChanged] called when the page is shown or gets the focus,
 *   and when the network is back or gone
 */

export class ReconnectingSocket {
  #options;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {HTMLElement | null} that the socket belongs to */
  #frame = null;
  #isOpen = false;
  #isSuspended = false;
  #attempts = 0;
  #openedAt = 0;
  #heardAt = 0;
  /** @type {number | null} time of a ping that is not answered yet */
  #pingedAt = null;
  /** @type {Timer} */
  #returning;
  /** @type {Timer} */
  #ticking;
  /** @type {AbortController | null} */
  #listening = null;

  /** @param {Owner & Environment & Timing} options */
  constructor(options) {
    const { WebSocket, document } = globalThis;
    const environment = { WebSocket, document, window: globalThis };
    this.#options = { ...environment, ...DEFAULTS, ...options };
  }

  get isOpen() {
    return this.#isOpen;
  }

  // How often it has failed since it last worked.
  get attempts() {
    return this.#attempts;
  }

  get isOffline() {
    return this.#options.window?.navigator?.onLine === false;
  }

  // The time at which the current socket was made, before its handshake.
  get openedAt() {
    return this.#openedAt;
  }

  // Open the socket, unless it is open or the next attempt is scheduled.
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

  // Close the socket and reconnect later, because the server does not answer.
  giveUp() {
    this.#comeBack(this.delay(this.#attempts));
  }

  // Count attempts from the beginning again, because the connection works.
  forgetAttempts() {
    this.#attempts = 0;
  }

  /**
   * Return how long to wait before another attempt.
   *
   * @param {number} attempts the number of failed attempts
   */
  delay(attempts) {
    const { random, backoff, longest } = this.#options;
    return random() * Math.min(longest, backoff * 2 ** attempts);
  }

  /**
   * Send `message`, or do nothing if the socket is not open.
   *
   * @param {object} message
   */
  send(message) {
    if (this.#isOpen) this.#socket?.send(JSON.stringify(message));
  }

  // --- The socket

  #open() {
    const { url, isWanted, tick, echo } = this.#options;
    if (this.#socket || this.#isSuspended || isWanted?.() === false) return;
    this.#socket = new (this.#socketClass())(url());
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = ({ data }) => this.#received(data);
    this.#socket.onclose = ({ code }) => this.#closed(code);
    this.#openedAt = this.#heardAt = Date.now();
    this.#ticking = setInterval(() => this.#tick(echo), tick);
  }

  /**
   * Firefox keeps no page that has a socket when another page is asked for. Closing one
   * takes a round trip, but if it belongs to a frame it goes with the frame.
   *
   * @returns {typeof WebSocket}
   */
  #socketClass() {
    const { WebSocket, window } = this.#options;
    const document = /** @type {Document} */ (this.#options.document);
    if (!isFirefox(window)) return WebSocket;
    const frame = (this.#frame = document.createElement("iframe"));
    frame.hidden = true;
    document.documentElement.append(frame);
    const { contentDocument, contentWindow } = frame;
    // Older versions load the document of a frame later, and close its sockets then.
    const isLoaded = contentDocument?.readyState === "complete";
    return isLoaded ? /** @type {any} */ (contentWindow).WebSocket : WebSocket;
  }

  #openNow() {
    clearTimeout(this.#returning);
    this.#returning = undefined;
    this.#open();
  }

  #opened() {
    this.#isOpen = true;
    this.#heardAt = Date.now();
    this.#options.opened?.();
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
    if (this.#attempts === PATIENT)
      console.warn(
        `${this.#socket?.url}: no connection, is the WebSocket let through?`,
      );
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
   * Close the socket, and ignore its further events.
   *
   * @param {{ isRefused: boolean }} end
   */
  #drop(end) {
    if (this.#socket === null) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#frame?.remove();
    this.#frame = null;
    clearInterval(this.#ticking);
    this.#socket = null;
    this.#isOpen = false;
    this.#pingedAt = null;
    this.#options.closed?.(end);
  }

  /** @param {number} echo */
  #tick(echo) {
    if (this.#socket === null) return;
    const { patience, silence } = this.#options;
    const quiet = distance(this.#heardAt);
    const isLate = this.#pingedAt !== null && distance(this.#pingedAt) >= echo;
    if (isLate || (!this.#isOpen && quiet >= patience)) return this.giveUp();
    if (!this.#isOpen) return;
    if (quiet >= silence) this.#ping();
    this.#options.ticked?.();
  }

  #ping() {
    if (this.#pingedAt !== null) return;
    this.#pingedAt = Date.now();
    this.send(this.#options.ping?.() ?? { type: "ping" });
  }

  // --- Events of the page

  #listen() {
    if (this.#listening) return;
    this.#listening = new AbortController();
    const { window, document } = this.#options;
    const { signal } = this.#listening;
    /** @type {(target: EventTarget | undefined, name: string, act: (event: any) => void) => void} */
    const on = (target, name, act) => target?.addEventListener?.(name, act, { signal });
    on(window, "pagehide", ({ persisted }) => persisted && this.#suspend());
    if (isFirefox(window)) on(window, "beforeunload", () => this.#leave());
    on(window, "pageshow", ({ persisted }) => persisted && this.#wake());
    on(document, "freeze", () => this.#suspend());
    on(document, "resume", () => this.#wake());
    on(document, "visibilitychange", () => document?.hidden || this.#wake());
    on(window, "focus", () => this.#wake());
    on(window, "online", () => this.#wake());
    on(window, "offline", () => this.#doubt());
  }

  // Firefox closes all sockets now, also for a download, and tells nobody that the page
  // stays.
  #leave() {
    clearTimeout(this.#returning);
    this.#comeBack(this.#options.stay);
  }

  // A page that the browser freezes or caches must not have an open socket.
  #suspend() {
    this.#isSuspended = true;
    clearTimeout(this.#returning);
    this.#drop({ isRefused: false });
  }

  // The connection may have been lost while the page was suspended: send a ping.
  #wake() {
    this.#isSuspended = false;
    this.#options.pageChanged?.();
    if (this.#isOpen) this.#ping();
    else this.#openNow();
  }

  // A connection to this machine, or through another network, may still work.
  #doubt() {
    this.#options.pageChanged?.();
    if (!this.#isOpen) return;
    const { doubt } = this.#options;
    this.#ping();
    setTimeout(() => this.#tick(doubt), doubt);
  }
}

/** @param {object} [window] */
const isFirefox = (window = {}) => "mozInnerScreenX" in window;

/** @typedef {ReturnType<typeof setTimeout> | undefined} Timer */

/**
 * Return how far `moment` is from now. It counts in both directions, so that a clock
 * that is set back does not hide a silence.
 *
 * @param {number} moment
 */
export const distance = (moment) => Math.abs(Date.now() - moment);

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
