// <connection-badge>: green while every live source of the page is connected.
//
// It keeps its text from page to page, and turns grey only after a delay, because the
// sources of a new page have to connect first.

const SOURCES = "turbo-channels-stream-source:not([denied])";
const EVENTS = ["connected", "disconnected", "denied"].map(
  (name) => `turbo-stream:${name}`,
);
const DELAY = 500;

let shown = "Connecting";

class ConnectionBadge extends HTMLElement {
  #timer = null;

  connectedCallback() {
    for (const name of [...EVENTS, "turbo:render"])
      document.addEventListener(name, this);
    this.handleEvent();
  }

  disconnectedCallback() {
    for (const name of [...EVENTS, "turbo:render"])
      document.removeEventListener(name, this);
    clearTimeout(this.#timer);
  }

  handleEvent() {
    const sources = [...document.querySelectorAll(SOURCES)];
    const isConnected = (source) => source.hasAttribute("connected");
    const isLive = sources.length > 0 && sources.every(isConnected);
    clearTimeout(this.#timer);
    if (!isLive) this.#timer = setTimeout(() => this.#show("Offline"), DELAY);
    this.#show(isLive ? "Live" : shown);
  }

  #show(state) {
    shown = state;
    this.hidden = false;
    this.toggleAttribute("live", state === "Live");
    if (this.textContent !== state) this.textContent = state;
  }
}

customElements.define("connection-badge", ConnectionBadge);
