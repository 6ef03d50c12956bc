// <denied-notice>: takes the place of what may no longer be seen.
//
// If the server refuses a stream because of the user, the notice removes all that is
// beside it in its parent. Of several notices, the one that is nearest to the stream
// does so.

const REASONS = ["forbidden", "foreign", "revoked"];

class DeniedNotice extends HTMLElement {
  connectedCallback() {
    document.addEventListener("turbo-stream:denied", this);
  }

  disconnectedCallback() {
    document.removeEventListener("turbo-stream:denied", this);
  }

  handleEvent({ target, detail }) {
    const nearest = target.closest(":has(> denied-notice)");
    if (nearest !== this.parentElement || !REASONS.includes(detail.reason)) return;
    this.hidden = false;
    this.parentElement.replaceChildren(this);
  }
}

customElements.define("denied-notice", DeniedNotice);
