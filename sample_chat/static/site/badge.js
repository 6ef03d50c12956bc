// <connection-badge>: green while every live source of the page is connected.

const SOURCES = "turbo-channels-stream-source"
const EVENTS = [
  "turbo-stream:connected",
  "turbo-stream:disconnected",
  "turbo-stream:denied",
  "turbo:render",
]

class ConnectionBadge extends HTMLElement {
  connectedCallback() {
    EVENTS.forEach((name) => document.addEventListener(name, this))
    this.handleEvent()
  }

  disconnectedCallback() {
    EVENTS.forEach((name) => document.removeEventListener(name, this))
  }

  handleEvent(event) {
    if (event?.type === "turbo-stream:denied") event.target.dataset.denied = ""
    const sources = [...document.querySelectorAll(`${SOURCES}:not([data-denied])`)]
    const isLive = sources.every((source) => source.hasAttribute("connected"))
    const text = isLive ? "Live" : "Offline"
    this.hidden = sources.length === 0
    this.toggleAttribute("live", isLive)
    if (this.textContent !== text) this.textContent = text
  }
}

customElements.define("connection-badge", ConnectionBadge)
