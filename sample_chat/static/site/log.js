// <chat-log room="3" unread="…">: the messages of a room, with a line for each day and a
// line where you left off, and a button while new messages are below.

import { divideByDay, putLine } from "./lines.js";

const NEAR = 40; // px from the end that count as the end
const USER = document.querySelector("meta[name=user]")?.content;

class ChatLog extends HTMLElement {
  #observer = new MutationObserver(() => this.#update());
  #unread = null; // the first message that arrived while nobody looked

  connectedCallback() {
    this.#log.addEventListener("scroll", this);
    this.#button.addEventListener("click", this);
    document.addEventListener("visibilitychange", this);
    this.#findUnread();
    this.#update();
    this.querySelector(".unread")?.scrollIntoView({ block: "nearest" });
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    document.removeEventListener("visibilitychange", this);
  }

  handleEvent({ type }) {
    if (type === "click") this.#goDown();
    if (document.hidden && this.#isAtEnd) this.#unread = null;
    this.#look();
  }

  get #log() {
    return this.querySelector(".log");
  }

  get #button() {
    return this.querySelector(".below");
  }

  get #messages() {
    return [...this.querySelectorAll("turbo-frame[datetime]")];
  }

  get #isAtEnd() {
    return this.#log.scrollTop > -NEAR; // 0 at the end, and negative above it
  }

  get #store() {
    return `seen in room ${this.getAttribute("room")} by ${USER}`;
  }

  get #seen() {
    return Number(localStorage.getItem(this.#store) ?? Infinity);
  }

  #update() {
    const messages = this.#messages;
    this.#observer.disconnect();
    if (document.hidden || !this.#isAtEnd) this.#findUnread();
    divideByDay(messages);
    for (const message of messages) {
      const isFirst = idOf(message) === this.#unread;
      putLine(message, "unread", isFirst ? this.getAttribute("unread") : "");
    }
    this.#observer.observe(this.#log, { childList: true, subtree: true });
    this.#look();
  }

  #findUnread() {
    const isUnread = (one) => idOf(one) > this.#seen && !one.querySelector("[own]");
    const first = this.#messages.find(isUnread);
    if (first) this.#unread ??= idOf(first);
  }

  #look() {
    const last = Math.max(0, ...this.#messages.map(idOf));
    if (this.#isAtEnd && !document.hidden) localStorage.setItem(this.#store, last);
    this.#button.hidden = this.#isAtEnd || last <= this.#seen;
  }

  #goDown() {
    this.#log.scrollTo(0, 0);
    this.#log.focus();
  }
}

const idOf = ({ id }) => Number(id.replace("message-", ""));

customElements.define("chat-log", ChatLog);
