// A list that follows a binding: the browser's client of a BindingConsumer.
//
//   import { BoundList } from "…/turbo/bindings.js"
//
//   const scores = new BoundList("/ws/scores/")
//   scores.addEventListener("change", () => show(scores.values()))
//
//   ← {"event":"scores","action":"sync","version":"k3:7","page":1,"pages":1,
//      "keys":[4,1],"payload":[{…},{…}]}
//   ← {"event":"scores","action":"update","version":"k3:8","keys":[4],"payload":[{…}],"index":1}
//   → {"disconnect":true}
//
// Every message has the new index of its row, so the order is the server's. After a
// broken connection, the list reconnects with its version and gets the changes that it
// missed.
//
// Events: "change" (detail: action, key, value, index; action "sync" means all rows),
// "connected", "disconnected", "denied" (detail: reason), "message" (detail: action and
// payload of any other message).

// Django finds imports by the semicolon when it hashes the names of files.
import { ReconnectingSocket, socketAddress } from "./socket.js";

/**
 * @import { Environment, Timing } from "./socket.js"
 *
 * @typedef {Record<string, any>} Message see the reference
 */

export class BoundList extends EventTarget {
  /** @type {Map<string, any>} */
  #rows = new Map(); // key as JSON → value, in order
  #version = "";
  /** @type {Map<string, any> | null} rows of a sync that is not complete yet */
  #pages = null;
  #isConnected = false;
  #socket;

  /**
   * @param {string} url
   * @param {Environment & Timing} options
   */
  constructor(url, options = {}) {
    super();
    const address = new URL(socketAddress(url, options.document?.baseURI));
    this.#socket = new ReconnectingSocket({
      ...options,
      url: () => this.#from(address),
      ping: () => ({ ping: true }),
      received: (message) => this.#receive(message),
      closed: () => this.#closed(),
    });
    this.#socket.connect();
  }

  get version() {
    return this.#version;
  }

  // Whether the list has all changes up to now and gets the next ones.
  get isConnected() {
    return this.#isConnected;
  }

  get size() {
    return this.#rows.size;
  }

  // The values of the rows, in order.
  values() {
    return [...this.#rows.values()];
  }

  // Pairs of a primary key and a value, in order.
  entries() {
    return [...this.#rows].map(([key, value]) => [JSON.parse(key), value]);
  }

  /** @param {unknown} key */
  get(key) {
    return this.#rows.get(JSON.stringify(key));
  }

  // Disconnect, and do not reconnect.
  close() {
    this.#socket.send({ disconnect: true });
    this.#socket.disconnect();
  }

  /**
   * Return the address; a list that reconnects adds its version.
   *
   * @param {URL} address
   */
  #from(address) {
    if (this.#version) address.searchParams.set("version", this.#version);
    return address.href;
  }

  #closed() {
    this.#pages = null;
    this.#isConnected = false;
    this.#notify("disconnected", { version: this.#version });
  }

  // --- Messages

  /** @param {Message} message */
  #receive(message) {
    const { action, page, payload } = message;
    if (action === "sync" && page) this.#takePage(message);
    else if (action === "sync") this.#synced(message);
    else if (action === "order") this.#reorder(message);
    else if (action === "denied") this.#notify("denied", { reason: message.reason });
    else if (action === "error")
      console.warn("BoundList:", message.reason, message.detail);
    else if (action === "ping" || action === "pong") return;
    else if (message.keys) this.#change(message);
    else this.#notify("message", { action, payload });
  }

  /** @param {Message} message */
  #takePage({ version, page, pages, keys, payload }) {
    if (page === 1) this.#pages = new Map();
    for (const [place, key] of keys.entries()) {
      this.#pages?.set(JSON.stringify(key), payload[place]);
    }
    if (page < pages || !this.#pages) return;
    this.#rows = this.#pages;
    this.#pages = null;
    this.#version = version;
    this.#notify("change", { action: "sync" });
  }

  /**
   * The list is up to date.
   *
   * @param {Message} message
   */
  #synced({ version }) {
    this.#version = version;
    this.#isConnected = true;
    this.#socket.forgetAttempts();
    this.#notify("connected", { version });
  }

  /** @param {Message} message */
  #change({ action, version, keys, payload, index }) {
    const key = JSON.stringify(keys[0]);
    const rows = [...this.#rows].filter(([other]) => other !== key);
    if (action !== "delete") rows.splice(index, 0, [key, payload[0]]);
    this.#rows = new Map(rows);
    this.#version = version;
    const value = action === "delete" ? undefined : payload[0];
    this.#notify("change", { action, key: keys[0], value, index });
  }

  /** @param {Message} message */
  #reorder({ action, version, keys }) {
    /** @type {string[]} */
    const named = keys.map((/** @type {unknown} */ key) => JSON.stringify(key));
    const first = named.filter((key) => this.#rows.has(key));
    const order = new Set([...first, ...this.#rows.keys()]);
    this.#rows = new Map([...order].map((key) => [key, this.#rows.get(key)]));
    this.#version = version;
    this.#notify("change", { action });
  }

  /** @type {(type: string, detail: object) => void} */
  #notify(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
