// <connection-badge>: green while every live source of the page is connected.
//
// What it shows outlives a visit, and it turns grey only after a moment: on the way from
// page to page the sources are connected anew.

const SOURCES = "turbo-channels-stream-source:not([denied])";
const EVENTS = ["connected", "disconnected", "denied"].map(
  (name) => `turbo-stream:${name}`,
);
const MOMENT = 500;

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
    if (!isLive) this.#timer = setTimeout(() => this.#show("Offline"), MOMENT);
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
