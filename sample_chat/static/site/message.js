// <chat-message author="3">: marks the messages of whoever looks at the page.
//
// A broadcast is rendered once for everybody and knows no reader; the page does.

class ChatMessage extends HTMLElement {
  connectedCallback() {
    const reader = document.querySelector("meta[name=user]")?.content;
    this.toggleAttribute("own", this.getAttribute("author") === reader);
  }
}

customElements.define("chat-message", ChatMessage);
