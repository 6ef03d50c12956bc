// <chat-message author="3" key="…">: marks the messages of the user of the page, and
// takes their pending twins out of the unsent ones.
//
// A broadcast is rendered once for all users of an audience, so only the page knows its
// user.

import { settle } from "./unsent.js";

class ChatMessage extends HTMLElement {
  connectedCallback() {
    const user = document.querySelector("meta[name=user]")?.content;
    this.toggleAttribute("own", this.getAttribute("author") === user);
    settle(this.getAttribute("key"));
  }
}

customElements.define("chat-message", ChatMessage);
