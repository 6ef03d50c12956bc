// <pocket-chat url="/ws/pocket/" client="…/observers.js">: a chat that uses JSON.
//
// The page contains no rooms and no messages, only the elements to put them into.

const LAST = 50;

class PocketChat extends HTMLElement {
  #socket = null;
  #messages = null; // the subscription to the messages of the room shown

  async connectedCallback() {
    const { connect } = await import(this.getAttribute("client"));
    if (!this.isConnected || this.#socket) return;
    this.#socket = connect(this.getAttribute("url"), { multiplexed: true });
    this.#select.addEventListener("change", this);
    this.#form.addEventListener("submit", this);
    this.#followRooms();
  }

  disconnectedCallback() {
    this.#select.removeEventListener("change", this);
    this.#form.removeEventListener("submit", this);
    this.#socket?.close();
    this.#socket = null;
  }

  handleEvent(event) {
    if (event.type === "change") return void this.#followMessages();
    event.preventDefault();
    this.#send();
  }

  get #select() {
    return this.querySelector("select");
  }

  get #form() {
    return this.querySelector("form");
  }

  async #followRooms() {
    const rooms = this.#socket.stream("rooms").observeList();
    for await (const { action, data } of rooms) {
      if (action === "snapshot") this.#select.replaceChildren(...data.map(option));
      else if (action === "delete") this.#select.querySelector(byId(data.pk))?.remove();
      else put(this.#select, option(data));
      if (!this.#messages) this.#followMessages();
    }
  }

  async #followMessages() {
    this.#messages?.close();
    const room = Number(this.#select.value);
    const messages = this.#socket.stream("messages").observeList({ room });
    this.#messages = messages;
    const list = this.querySelector("ul");
    for await (const { action, data } of messages) {
      if (this.#messages !== messages) return;
      if (action === "snapshot") list.replaceChildren(...data.slice(-LAST).map(item));
      else if (action === "delete") list.querySelector(byId(data.pk))?.remove();
      else put(list, item(data));
    }
  }

  async #send() {
    const [room, text] = [Number(this.#select.value), this.#form.elements.text.value];
    try {
      await this.#socket.stream("messages").create({ room, text });
      this.#form.reset();
      this.#showError("");
    } catch (error) {
      this.#showError(error.message);
    }
  }

  #showError(text) {
    const alert = this.querySelector("[role=alert]");
    Object.assign(alert, { textContent: text, hidden: !text });
  }
}

const byId = (id) => `[data-id="${CSS.escape(id)}"]`;

function put(list, element) {
  const before = list.querySelector(byId(element.dataset.id));
  if (before) before.replaceWith(element);
  else list.append(element);
}

function option({ id, name }) {
  const element = new Option(name, id);
  element.dataset.id = id;
  return element;
}

function item({ id, author, text }) {
  const [element, name] = [document.createElement("li"), document.createElement("b")];
  name.textContent = author;
  element.dataset.id = id;
  element.append(name, ` ${text}`);
  return element;
}

customElements.define("pocket-chat", PocketChat);
