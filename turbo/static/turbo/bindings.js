// A list that follows a binding: the page's end of a BindingConsumer.
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
// Every message says where its row stands from now on, so the order is the server's. When
// the connection breaks the list comes back with its version, and is sent what it missed.
//
// Events: "change" (detail: action, key, value, index; action "sync" means all rows),
// "connected", "disconnected", "denied" (detail: reason), "message" (detail: any other).

const DEFAULTS = {
  backoff: 500, // reconnect after random() * backoff * 2 ** attempts, …
  longest: 12_000, // … at most
  restart: 2_000, // … or random() * restart when the server asks to come back
  patience: 10_000, // for the handshake
  echo: 5_000, // for the answer to a ping
  silence: 60_000, // the server says something every 25 s
  tick: 2_500, // how often the clock is looked at for those
}

const COME_BACK = [1012, 4008] // the server restarts; this page was too slow
const STAY_AWAY = 4403

export class BoundList extends EventTarget {
  #options
  #url
  #rows = new Map() // key as JSON → value, in order
  #version = ""
  #pages = null // rows of a sync that is not complete yet
  #socket = null
  #isOpen = false
  #isSuspended = false
  #attempts = 0
  #heardAt = 0
  #pingedAt = 0
  #returning = null
  #ticking = null
  #listening = new AbortController()

  // Options: WebSocket, window, document, random, any of DEFAULTS.
  constructor(url, options = {}) {
    super()
    const { WebSocket, window, document } = globalThis
    this.#options = { ...DEFAULTS, WebSocket, window, document, random: Math.random, ...options }
    this.#url = new URL(url, this.#options.document.baseURI)
    this.#url.protocol = this.#url.protocol.replace("http", "ws")
    this.#listen()
    this.#open()
  }

  get version() {
    return this.#version
  }

  get isConnected() {
    return this.#isOpen && this.#version !== ""
  }

  get size() {
    return this.#rows.size
  }

  // What the server keeps of each row, in order.
  values() {
    return [...this.#rows.values()]
  }

  // Pairs of a primary key and a value, in order.
  entries() {
    return [...this.#rows].map(([key, value]) => [JSON.parse(key), value])
  }

  get(key) {
    return this.#rows.get(JSON.stringify(key))
  }

  // Leave, and hold nothing any more.
  close() {
    if (this.#isOpen) this.#send({ disconnect: true })
    this.#listening.abort()
    clearTimeout(this.#returning)
    this.#returning = null
    this.#isSuspended = true
    this.#drop()
  }

  // --- Messages

  #receive(text) {
    this.#heardAt = Date.now()
    this.#pingedAt = 0
    const message = JSON.parse(text)
    const { action, page, payload } = message
    if (action === "sync" && page) this.#takePage(message)
    else if (action === "sync") this.#arrive(message)
    else if (action === "order") this.#reorder(message)
    else if (action === "denied") this.#tell("denied", { reason: message.reason })
    else if (action === "error") console.warn("BoundList:", message.reason, message.detail)
    else if (action === "ping" || action === "pong") return
    else if (message.keys) this.#change(message)
    else this.#tell("message", { action, payload })
  }

  #takePage({ version, page, pages, keys, payload }) {
    if (page === 1) this.#pages = new Map()
    keys.forEach((key, place) => this.#pages?.set(JSON.stringify(key), payload[place]))
    if (page < pages || !this.#pages) return
    this.#rows = this.#pages
    this.#pages = null
    this.#version = version
    this.#tell("change", { action: "sync" })
  }

  // That is all for now.
  #arrive({ version }) {
    this.#version = version
    this.#attempts = 0
    this.#tell("connected", { version })
  }

  #change({ action, version, keys, payload, index }) {
    const key = JSON.stringify(keys[0])
    const rows = [...this.#rows].filter(([other]) => other !== key)
    if (action !== "delete") rows.splice(index, 0, [key, payload[0]])
    this.#rows = new Map(rows)
    this.#version = version
    const value = action === "delete" ? undefined : payload[0]
    this.#tell("change", { action, key: keys[0], value, index })
  }

  #reorder({ action, version, keys }) {
    const first = keys.map((key) => JSON.stringify(key)).filter((key) => this.#rows.has(key))
    const order = new Set([...first, ...this.#rows.keys()])
    this.#rows = new Map([...order].map((key) => [key, this.#rows.get(key)]))
    this.#version = version
    this.#tell("change", { action })
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }

  // --- The socket

  #open() {
    if (this.#socket || this.#isSuspended) return
    const url = new URL(this.#url)
    if (this.#version) url.searchParams.set("version", this.#version)
    const socket = new this.#options.WebSocket(url.href)
    this.#socket = socket
    this.#heardAt = Date.now()
    socket.onopen = () => {
      this.#isOpen = true
      this.#heardAt = Date.now()
    }
    socket.onmessage = ({ data }) => this.#receive(data)
    socket.onclose = ({ code }) => this.#closed(code)
    this.#ticking = setInterval(() => this.#tick(), this.#options.tick)
  }

  #closed(code) {
    this.#drop()
    if (code === STAY_AWAY) return this.close()
    const { random, restart } = this.#options
    const isAsked = COME_BACK.includes(code) && this.#attempts < 3
    this.#return(isAsked ? random() * restart : undefined)
  }

  #return(delay = this.#delay()) {
    clearTimeout(this.#returning)
    this.#attempts += 1
    this.#returning = setTimeout(() => {
      this.#returning = null
      this.#open()
    }, delay)
  }

  #delay() {
    const { random, backoff, longest } = this.#options
    return random() * Math.min(longest, backoff * 2 ** this.#attempts)
  }

  // Forget the socket: whatever it still says is not heard.
  #drop() {
    if (this.#socket === null) return
    Object.assign(this.#socket, { onopen: null, onmessage: null, onclose: null })
    this.#socket.close()
    clearInterval(this.#ticking)
    this.#socket = null
    this.#pages = null
    this.#isOpen = false
    this.#pingedAt = 0
    this.#tell("disconnected", { version: this.#version })
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message))
  }

  #tick() {
    const { patience, echo, silence } = this.#options
    const now = Date.now()
    const isSilent = now - this.#heardAt > (this.#isOpen ? silence : patience)
    const isDead = this.#pingedAt !== 0 && now - this.#pingedAt > echo
    if (isSilent || isDead) this.#closed()
  }

  // --- The page's life

  #listen() {
    const { window, document } = this.#options
    const { signal } = this.#listening
    const on = (target, name, act) => target.addEventListener(name, act, { signal })
    on(window, "pagehide", ({ persisted }) => persisted && this.#suspend())
    on(window, "pageshow", ({ persisted }) => persisted && this.#wake())
    on(document, "freeze", () => this.#suspend())
    on(document, "resume", () => this.#wake())
    on(document, "visibilitychange", () => document.hidden || this.#wake())
    on(window, "online", () => this.#wake())
  }

  // A page that the browser keeps aside may hold no socket.
  #suspend() {
    this.#isSuspended = true
    clearTimeout(this.#returning)
    this.#drop()
  }

  // A socket that has slept is not to be trusted: ask for a sign of life.
  #wake() {
    this.#isSuspended = false
    if (this.#isOpen) {
      this.#pingedAt = Date.now()
      this.#send({ ping: true })
    } else if (this.#socket === null) {
      clearTimeout(this.#returning)
      this.#open()
    }
  }
}
