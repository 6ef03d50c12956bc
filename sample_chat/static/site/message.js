// <chat-message author="3">: marks the messages of the user of the page.
//
// A broadcast is rendered once for all users, so only the page knows its user.

class ChatMessage extends HTMLElement {
  connectedCallback() {
    const user = document.querySelector("meta[name=user]")?.content;
    this.toggleAttribute("own", this.getAttribute("author") === user);
  }
}

customElements.define("chat-message", ChatMessage);
