// <local-time datetime="…">: the time of day in the time zone of the user.
//
// The time is in the shadow root, so that a morph of the page does not overwrite it.

const FORMAT = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
});

class LocalTime extends HTMLElement {
  connectedCallback() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    root.textContent = FORMAT.format(new Date(this.getAttribute("datetime")));
  }
}

customElements.define("local-time", LocalTime);
