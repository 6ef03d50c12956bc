// <denied-notice>: appears when the server refuses a stream in the same element.

class DeniedNotice extends HTMLElement {
  connectedCallback() {
    document.addEventListener("turbo-stream:denied", this);
  }

  disconnectedCallback() {
    document.removeEventListener("turbo-stream:denied", this);
  }

  handleEvent(event) {
    if (!this.parentElement.contains(event.target)) return;
    this.querySelector("[data-reason]").textContent = event.detail.reason;
    this.hidden = false;
  }
}

customElements.define("denied-notice", DeniedNotice);
