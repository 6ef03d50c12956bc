// The browser's client of streams: one WebSocket for all stream sources of a page.
//
//   <meta name="turbo-channels-url" content="/ws/">
//   <turbo-channels-stream-source signed-stream-name="…" since="@…">
//
// Add custom actions to Turbo.StreamActions. Turbo ignores a refresh whose request-id
// is that of a request from this page.

// Django finds imports by the semicolon when it hashes the names of files.
import { Connection, Source, TAG } from "./connection.js";
import { Refresher, tell } from "./refresher.js";
import { rendererOf } from "./rendering.js";
import { socketAddress } from "./socket.js";

export { Connection, Source };

/**
 * @import { Detail, Kind, Notify, State } from "./connection.js"
 * @import { Turbo } from "./rendering.js"
 *
 * @typedef {{
 *   readonly id: string,
 *   readonly state: State,
 *   reconnect: () => void,
 *   streamOf: (name: string) => string | null | undefined,
 *   send: (frame: object) => void,
 * }} Handle
 */

// A page may load this module from two addresses, and Node has no elements.
const elements = globalThis.customElements?.get(TAG) ? null : globalThis.customElements;
/** @type {Promise<Turbo>} */
const turbo = new Promise((resolve) =>
  elements?.whenDefined("turbo-stream").then(() => resolve(turboOfPage())),
);
const refresher = new Refresher(turbo);
const connection = new Connection({
  url: addressOfStreams,
  renderer: turbo.then(rendererOf),
  settled: () => isStalePage() || refresher.settled(),
  fire: tell,
  isVisiting: () => Boolean(turboOfPage()?.navigator?.currentVisit),
  isStale: isStalePage,
});

// The page has given up to catch up, and is still the same page.
function isStalePage() {
  return document.querySelector(`${TAG}[stale]`) !== null;
}

const global = /** @type {{ TurboChannels?: Handle } & typeof globalThis} */ (
  globalThis
);

// The handle on the connection, also in the module's exports. If the page has loaded
// this module from another address before, it is that one's, which has the connection.
/** @type {Handle} */
export const TurboChannels = global.TurboChannels ?? {
  // It names this page until it is loaded anew.
  id: Math.random().toString(36).slice(2),
  get state() {
    return connection.state;
  },
  reconnect: () => connection.reconnect(),
  streamOf: (name) => connection.streamOf(name),
  send: (frame) => connection.send(frame),
};

// Turbo is undefined until it is loaded.
function turboOfPage() {
  return /** @type {any} */ (window).Turbo;
}

function addressOfStreams() {
  /** @type {HTMLMetaElement | null} */
  const meta = document.querySelector('meta[name="turbo-channels-url"]');
  return socketAddress(meta?.content || "/ws/", location.href);
}

/**
 * A preview shows an old snapshot. Only permanent elements stay in use in it.
 *
 * @param {Element} element
 */
const isPreview = (element) =>
  document.documentElement.hasAttribute("data-turbo-preview") &&
  element.closest("[data-turbo-permanent]") === null;

// Has the attribute `connected` while it is connected, and `denied` with the reason if
// it was refused. A page that could not be refreshed has `stale` instead of `connected`,
// also as a snapshot, until a morph or a visit brings a newer page. Fires turbo-stream:connected, :disconnected, :gap (cancel it to
// prevent the refresh of the page) and :denied. These events bubble, and their detail
// is { name, position, reason }.
class StreamSourceElement extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["signed-stream-name", "since", "connected", "stale"];

  /** @type {Source | null} */
  #source = null;
  #isConnected = false;
  #isChanging = false;

  connectedCallback() {
    this.removeAttribute("denied");
    if (!isPreview(this)) this.#join();
    this.#isConnected = this.#source?.following ?? false;
    this.#mark();
  }

  disconnectedCallback() {
    this.#part();
  }

  // A morph sets attributes one by one, and removes those that the server did not
  // render.
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
    this.#mark();
    connection.noteState();
  }

  #mark() {
    const isStale = this.hasAttribute("stale");
    this.toggleAttribute("connected", this.#isConnected && !isStale);
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
   * Listeners of an event may remove the element from the page.
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
    this.#mark();
    if (isConnected) this.removeAttribute("denied");
    this.#fire(source, kind);
  }

  /** @type {(source: Source, kind: Kind, detail?: Detail) => boolean} */
  #fire({ name, since }, kind, { reason, position = since } = {}) {
    const detail = { name, position, reason };
    const options = { bubbles: true, cancelable: kind === "gap", detail };
    return this.dispatchEvent(new CustomEvent(`turbo-stream:${kind}`, options));
  }
}

/** @param {boolean} isStale */
function markPage(isStale) {
  for (const element of document.querySelectorAll(TAG))
    element.toggleAttribute("stale", isStale);
}

if (elements) {
  global.TurboChannels = TurboChannels;
  elements.define(TAG, StreamSourceElement);
  document.addEventListener("turbo-channels:gave-up", () => markPage(true));
  document.addEventListener("turbo-channels:healed", () => markPage(false));
}
