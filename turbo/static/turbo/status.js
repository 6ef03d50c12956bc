// <turbo-channels-status>: says whether the page is live.
//
//   {% include "turbo/status.html" %}
//
//   <turbo-channels-status connected="Live" offline="Offline" …>
//
// For each state of the client it has an attribute with the text. A state without one
// shows nothing. Trouble is shown, and read out by a screen reader, only when it has
// lasted a while; that the page is live again is read out only if the trouble was.

const DELAY = 2_000; // ms that trouble has to last
const EVENT = "turbo-channels:state";
const STATES = [
  "idle",
  "connecting",
  "connected",
  "disconnected",
  "offline",
  "denied",
  "stale",
];
const CSS = `
  :host { display: inline-block; }
  [part~="badge"] { display: inline-flex; align-items: center; gap: 0.4em; }
  [part~="badge"][hidden] { display: none; }
  [part~="dot"] {
    inline-size: 0.6em; block-size: 0.6em; border-radius: 50%; flex: none;
    box-sizing: border-box; border: 0.15em solid currentcolor;
  }
  [part~="dot"][part~="connected"] { background: currentcolor; }
  [part~="announcement"] {
    position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden;
    clip-path: inset(50%); white-space: nowrap;
  }
`;

class StatusElement extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = STATES;

  #badge = span("badge");
  #dot = span("dot");
  #text = span("text");
  #announcement = span("announcement");
  #state = ""; // as shown
  #isAnnounced = false; // the trouble that is shown
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
    this.#announcement.setAttribute("role", "status");
    this.#badge.append(this.#dot, this.#text);
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    root.append(this.#badge, this.#announcement);
  }

  connectedCallback() {
    document.addEventListener(EVENT, this);
    this.#show(/** @type {any} */ (window).TurboChannels?.state ?? "idle", false);
  }

  disconnectedCallback() {
    document.removeEventListener(EVENT, this);
    clearTimeout(this.#timer);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#show(this.#state, false);
  }

  /** @param {any} event */
  handleEvent({ detail: { state } }) {
    clearTimeout(this.#timer);
    if (isCalm(state)) this.#show(state, this.#isAnnounced);
    else if (this.#state === "idle") this.#show(state, false);
    else this.#timer = setTimeout(() => this.#show(state, true), DELAY);
  }

  /** @type {(state: string, isAloud: boolean) => void} */
  #show(state, isAloud) {
    const text = this.getAttribute(state) ?? "";
    this.#state = state;
    this.#isAnnounced = isAloud && !isCalm(state);
    this.#badge.hidden = !text;
    this.#badge.setAttribute("part", `badge ${state}`);
    this.#dot.setAttribute("part", `dot ${state}`);
    this.#text.textContent = text;
    this.#text.ariaHidden = isAloud ? "true" : null; // once is enough
    this.#announcement.textContent = isAloud ? text : "";
  }
}

/** @param {string} state */
const isCalm = (state) => state === "connected" || state === "idle";

/** @param {string} name */
function span(name) {
  const element = document.createElement("span");
  element.setAttribute("part", name);
  return element;
}

// A page may load this module from two addresses.
if (globalThis.customElements && !customElements.get("turbo-channels-status"))
  customElements.define("turbo-channels-status", StatusElement);
