// <unsent-messages action="…">: shows a message at once, and sends it until it is saved.
//
// Each message gets a key. The server saves one message for a key, and renders the key
// with it, so the message can be sent again if the answer was lost, and <chat-message>
// takes out of here what has arrived in any way.
//
// States: "sending", "waiting" for a connection, "failed", and "sent" if the answer is
// here before the message itself.

const STORE = `unsent of ${document.querySelector("meta[name=user]")?.content}`;
const TURBO_STREAM = "text/vnd.turbo-stream.html";
const RETRY = 5_000; // ms
const PATIENCE = 20_000; // ms

let unsent = JSON.parse(sessionStorage.getItem(STORE) ?? "[]"); // survives a reload
let isSending = false;
let timer = null;

for (const event of ["online", "turbo-stream:connected", "turbo:load"])
  addEventListener(event, sendWaiting);
addEventListener("turbo:render", () => keep(({ state }) => state !== "sent"));

export function put(action, text) {
  unsent.push({ action, text, key: newKey(), state: "sending" });
  sendAll();
}

/** Take out the message with this key, because it has arrived. */
export function settle(key) {
  keep((message) => message.key !== key);
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function keep(isKept) {
  if (unsent.every(isKept)) return;
  unsent = unsent.filter(isKept);
  show();
}

function show() {
  sessionStorage.setItem(STORE, JSON.stringify(unsent));
  for (const element of document.querySelectorAll("unsent-messages")) element.show();
}

function sendWaiting() {
  for (const message of unsent)
    if (message.state === "waiting") message.state = "sending";
  sendAll();
}

// One after the other, so that they are saved in order.
async function sendAll() {
  show();
  if (isSending) return;
  isSending = true;
  for (let next; (next = unsent.find(({ state }) => state === "sending")); show())
    await send(next);
  isSending = false;
}

async function send(message) {
  try {
    const answer = await post(message);
    message.state = answer.ok ? "sent" : "failed";
    if (answer.headers.get("content-type")?.startsWith(TURBO_STREAM))
      window.Turbo.renderStreamMessage(await answer.text());
  } catch {
    for (const other of unsent) if (other.state === "sending") other.state = "waiting";
    clearTimeout(timer);
    timer = setTimeout(sendWaiting, RETRY);
  }
}

function post({ action, text, key }) {
  const csrfmiddlewaretoken = document.querySelector(
    "[name=csrfmiddlewaretoken]",
  ).value;
  return fetch(action, {
    method: "POST",
    body: new URLSearchParams({ text, key, csrfmiddlewaretoken }),
    headers: { Accept: TURBO_STREAM },
    redirect: "manual", // to the log-in page, for instance
    signal: AbortSignal.timeout(PATIENCE),
  });
}

class UnsentMessages extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", this);
    this.show();
  }

  disconnectedCallback() {
    this.removeEventListener("click", this);
  }

  show() {
    const action = this.getAttribute("action");
    const mine = unsent.filter((message) => message.action === action);
    for (const element of this.querySelectorAll("[key]"))
      if (!mine.some(({ key }) => key === element.getAttribute("key")))
        element.remove();
    for (const message of mine) this.#showOne(message);
  }

  #showOne({ key, text, state }) {
    const element = this.querySelector(`[key="${key}"]`) ?? this.#add(key, text);
    element.setAttribute("state", state);
    element.querySelector("[role=status]").textContent = this.getAttribute(state);
    element.querySelector("[name=again]").hidden = !["waiting", "failed"].includes(
      state,
    );
    element.querySelector("[name=edit]").hidden = state !== "failed";
  }

  #add(key, text) {
    const template = this.querySelector("template").content.firstElementChild;
    const element = template.cloneNode(true);
    element.setAttribute("key", key);
    element.querySelector(".text").textContent = text;
    this.append(element);
    element.scrollIntoView({ block: "nearest" });
    return element;
  }

  handleEvent({ target }) {
    const key = target.closest("[key]")?.getAttribute("key");
    const message = unsent.find((one) => one.key === key);
    if (target.name === "again") message.state = "sending";
    if (target.name === "again") sendAll();
    if (target.name === "edit") this.#takeBack(message);
  }

  #takeBack({ key, text }) {
    const field = document.querySelector("[data-composer] textarea");
    field.value = [text, field.value].filter(Boolean).join("\n");
    field.focus();
    settle(key);
  }
}

customElements.define("unsent-messages", UnsentMessages);
