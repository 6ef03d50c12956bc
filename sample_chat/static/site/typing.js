// <typing-notice single="% is writing…" several="% are writing…" and=" and ">: says who is
// writing in the room, after their whispers. It is empty again when they stop or send.

const PAUSE = 2_000; // ms between two whispers of one who goes on writing
const STAY = 5_000; // ms for which a whisper counts
const SOURCE = "turbo-channels-stream-source";

class TypingNotice extends HTMLElement {
  #writers = new Map(); // user → timer

  connectedCallback() {
    document.addEventListener("turbo-stream:whisper", this);
    document.addEventListener("turbo:before-stream-render", this);
  }

  disconnectedCallback() {
    document.removeEventListener("turbo-stream:whisper", this);
    document.removeEventListener("turbo:before-stream-render", this);
    for (const timer of this.#writers.values()) clearTimeout(timer);
  }

  handleEvent({ type, detail }) {
    if (type === "turbo-stream:whisper") this.#note(detail);
    else this.#end(writerOf(detail.newStream));
  }

  #note({ name, user }) {
    if (name !== "typing" || isMine(user)) return;
    clearTimeout(this.#writers.get(user));
    this.#writers.set(
      user,
      setTimeout(() => this.#end(user), STAY),
    );
    this.#show();
  }

  #end(user) {
    clearTimeout(this.#writers.get(user));
    if (this.#writers.delete(user)) this.#show();
  }

  #show() {
    const names = [...this.#writers.keys()].map(nameOf).filter(Boolean);
    const text = this.getAttribute(names.length > 1 ? "several" : "single");
    const last = names.splice(-2).join(this.getAttribute("and"));
    this.textContent = last && text.replace("%", [...names, last].join(", "));
  }
}

const nameOf = (user) => document.getElementById(`person-${user}`)?.dataset.name;

// A message has come, so its author has stopped writing it.
function writerOf(stream) {
  const content = stream.querySelector("template")?.content;
  return content?.querySelector("chat-message")?.getAttribute("author");
}

const isMine = (user) => user === document.querySelector("meta[name=user]")?.content;

let whisperedAt = -Infinity;
addEventListener("input", ({ target }) => {
  if (!target.matches?.("[data-composer] textarea")) return;
  if (!target.value || performance.now() - whisperedAt < PAUSE) return;
  whisperedAt = performance.now();
  document.querySelector(`main ${SOURCE}[stream-id]`)?.whisper?.("typing");
});

// The field is empty again: what is written next is another message.
addEventListener("reset", () => (whisperedAt = -Infinity));

customElements.define("typing-notice", TypingNotice);
