// A client of turbo.observers: requests as promises, changes as async iterators.
//
//   import { connect } from "/static/turbo/observers.js"
//
//   const people = connect("/ws/people/")
//   const ann = await people.retrieve(1)
//   await people.patch(1, { name: "Anne" })
//   for await (const { action, data } of people.observe(1)) show(action, data)
//
//   const socket = connect("/ws/all/", { multiplexed: true })
//   const rooms = socket.stream("rooms")
//
// A subscription begins with a snapshot, and every event carries a position. After a
// broken connection each is resumed where it stood: what was missed follows, or, where the
// server cannot tell any more, another snapshot. So whoever shows what comes out of the
// iterator shows what is there, and no event twice.
//
//   → {"action":"subscribe_instance","request_id":4,"pk":1,"snapshot":true}
//   ← {"action":"subscribe_instance",…,"request_id":4,"data":{…},"position":"k3:7"}
//   ← {"action":"update",…,"request_id":4,"data":{…},"position":"k3:8"}
//   → {"action":"subscribe_instance","request_id":4,"pk":1,"since":"k3:8"}

const DEFAULTS = {
  multiplexed: false, // whether the server has a Multiplexer there
  timeout: 30_000, // for the answer to a request, the way there included
  backoff: 500, // reconnect after random() * backoff * 2 ** attempts, …
  longest: 12_000, // … at most
  restart: 2_000, // … or random() * restart when the server asks to come back
  silence: 30_000, // ask for a sign of life after hearing nothing for so long
  echo: 5_000, // wait for that sign
  random: Math.random,
}

const COME_BACK = [1012, 4008] // the server restarts; this client was too slow
const STAY_AWAY = 4403
const UNAVAILABLE = 503
const NOT_FOUND = 404
const READS = new Set(["list", "retrieve", "subscribe_instance", "subscribe_list"])

// What the server answers instead of data.
export class Refusal extends Error {
  constructor({ action, errors, response_status: status }) {
    super(`${action}: ${status} ${JSON.stringify(errors)}`)
    Object.assign(this, { name: "Refusal", action, errors, status })
  }
}

// Nobody knows whether the server has done what it was asked for.
export class ConnectionLost extends Error {
  name = "ConnectionLost"
}

// Return a client of the consumer at `url`, or of several with `multiplexed`.
export function connect(url, options = {}) {
  const socket = new Socket(url, { ...DEFAULTS, ...options })
  if (!socket.options.multiplexed) return new Client(socket)
  return { stream: (name) => new Client(socket, name), close: () => socket.close() }
}

export class Client {
  #socket
  #stream

  constructor(socket, stream) {
    this.#socket = socket
    this.#stream = stream
  }

  // Ask for any action; return what it answers.
  async request(action, given = {}) {
    const answer = await this.#socket.ask(this.#stream, { action, ...given })
    return answer.data
  }

  list(query = {}, given = {}) {
    return this.request("list", { query, ...given })
  }

  create(data) {
    return this.request("create", { data })
  }

  retrieve(pk) {
    return this.request("retrieve", { pk })
  }

  update(pk, data) {
    return this.request("update", { pk, data })
  }

  patch(pk, data) {
    return this.request("patch", { pk, data })
  }

  delete(pk) {
    return this.request("delete", { pk })
  }

  // Iterate over {action, data} of one object: "snapshot" first, then what becomes of it.
  observe(pk, given = {}) {
    return this.#subscribe("instance", { pk, ...given })
  }

  // The same for a list.
  observeList(query = {}, given = {}) {
    return this.#subscribe("list", { query, ...given })
  }

  close() {
    this.#socket.close()
  }

  #subscribe(kind, given) {
    return this.#socket.subscribe(this.#stream, kind, given)
  }
}

// One subscription, as `for await` sees it. Leaving the loop ends it.
class Subscription {
  position = null
  #events = []
  #waiting = null // resolves the promise that next() has given
  #error = null
  #isDone = false
  #leave

  constructor(payload, leave) {
    this.payload = payload
    this.#leave = leave
  }

  [Symbol.asyncIterator]() {
    return this
  }

  async next() {
    while (this.#events.length === 0 && !this.#isDone) {
      await new Promise((resolve) => (this.#waiting = resolve))
    }
    if (this.#events.length > 0) return { value: this.#events.shift(), done: false }
    const error = this.#error
    this.#error = null
    if (error) throw error
    return { value: undefined, done: true }
  }

  async return(value) {
    this.close()
    return { value, done: true }
  }

  close() {
    if (this.#isDone) return
    this.end()
    this.#leave()
  }

  // What to send in order to begin, or to go on.
  get request() {
    const where = this.position ? { since: this.position } : { snapshot: true }
    return { ...this.payload, ...where }
  }

  // Take an answer or an event of the server.
  take({ action, data, position }) {
    const isAnswer = action === this.payload.action
    if (!isAnswer && isOld(position, this.position)) return
    this.position = position || this.position
    if (isAnswer && data === null) return
    this.#events.push({ action: isAnswer ? "snapshot" : action, data })
    this.#wake()
  }

  // What was shown before the connection broke is not there any more.
  gone() {
    this.#events.push({ action: "delete", data: { pk: this.payload.pk } })
    this.end()
  }

  end(error = null) {
    this.#error = error
    this.#isDone = true
    this.#wake()
  }

  #wake() {
    this.#waiting?.()
    this.#waiting = null
  }
}

// The connection: opened when something is wanted of it, and kept until close().
class Socket {
  #url
  #socket = null
  #isOpen = false
  #isClosed = false
  #attempts = 0
  #lastId = 0
  #lastStream = "" // of a multiplexer: one that is there to answer a ping
  #requests = new Map() // request id → {stream, payload, isSent, resolve, reject, timer}
  #subscriptions = new Map() // request id → {stream, subscription}
  #returning = null
  #watching = null
  #listening = null

  constructor(url, options) {
    this.options = options
    this.#url = url
  }

  ask(stream, payload) {
    return new Promise((resolve, reject) => {
      const id = this.#nextId()
      const late = () => this.#settle(id)?.reject(new ConnectionLost("no answer in time"))
      const timer = setTimeout(late, this.options.timeout)
      const request = { stream, payload: { ...payload, request_id: id }, timer }
      this.#requests.set(id, { ...request, isSent: false, resolve, reject })
      this.#open()
      if (this.#isOpen) this.#sendRequest(id)
    })
  }

  subscribe(stream, kind, given) {
    const id = this.#nextId()
    const payload = { ...given, action: `subscribe_${kind}`, request_id: id }
    const leave = () => {
      this.#subscriptions.delete(id)
      const { pk } = given
      const goodbye = { action: `unsubscribe_${kind}`, pk, request_id: id }
      if (this.#isOpen) this.#send(stream, goodbye)
    }
    const subscription = new Subscription(payload, leave)
    this.#subscriptions.set(id, { stream, subscription })
    this.#open()
    if (this.#isOpen) this.#send(stream, subscription.request)
    return subscription
  }

  close() {
    this.#isClosed = true
    this.#drop()
    clearTimeout(this.#returning)
    this.#listening?.abort()
    this.#giveUp(new ConnectionLost("closed"))
  }

  #nextId() {
    if (this.#isClosed) throw new ConnectionLost("closed")
    return (this.#lastId += 1)
  }

  #open() {
    if (this.#socket || this.#returning !== null || this.#isClosed) return
    this.#listen()
    const WebSocket = this.options.WebSocket ?? globalThis.WebSocket
    this.#socket = new WebSocket(absolute(this.#url))
    this.#socket.onopen = () => this.#opened()
    this.#socket.onmessage = ({ data }) => this.#receive(JSON.parse(data))
    this.#socket.onclose = ({ code }) => this.#closed(code)
  }

  #opened() {
    this.#isOpen = true
    this.#watch()
    for (const id of this.#requests.keys()) this.#sendRequest(id)
    for (const { stream, subscription } of this.#subscriptions.values()) {
      this.#send(stream, subscription.request)
    }
  }

  #closed(code) {
    this.#drop()
    if (code === STAY_AWAY) {
      const why = { action: "connect", errors: ["forbidden"], response_status: 403 }
      return this.#giveUp(new Refusal(why))
    }
    for (const [id, { payload, isSent }] of this.#requests) {
      if (!isSent || READS.has(payload.action)) continue
      this.#settle(id).reject(new ConnectionLost("not known to be done"))
    }
    const { random, restart, backoff, longest } = this.options
    const patient = Math.min(longest, backoff * 2 ** this.#attempts)
    const delay = random() * (COME_BACK.includes(code) ? restart : patient)
    this.#attempts += 1
    this.#returning = setTimeout(() => this.#return(), delay)
  }

  #return() {
    clearTimeout(this.#returning)
    this.#returning = null
    if (this.#requests.size + this.#subscriptions.size > 0) this.#open()
  }

  // Forget the socket: whatever it still says is not heard.
  #drop() {
    if (this.#socket === null) return
    Object.assign(this.#socket, { onopen: null, onmessage: null, onclose: null })
    this.#socket.close()
    this.#socket = null
    this.#isOpen = false
    clearTimeout(this.#watching)
  }

  #giveUp(error) {
    for (const id of this.#requests.keys()) this.#settle(id).reject(error)
    for (const { subscription } of this.#subscriptions.values()) {
      subscription.end(error instanceof Refusal ? error : null)
    }
    this.#subscriptions.clear()
  }

  #settle(id) {
    const request = this.#requests.get(id)
    clearTimeout(request?.timer)
    this.#requests.delete(id)
    return request
  }

  #sendRequest(id) {
    const request = this.#requests.get(id)
    request.isSent = true
    this.#send(request.stream, request.payload)
  }

  #send(stream, payload) {
    const { multiplexed } = this.options
    this.#lastStream = stream
    this.#socket.send(JSON.stringify(multiplexed ? { stream, payload } : payload))
  }

  #receive(message) {
    this.#attempts = 0
    this.#watch()
    const answer = this.options.multiplexed ? message.payload : message
    const id = answer.request_id
    const isFine = answer.response_status < 300
    if (this.#requests.has(id)) {
      const { resolve, reject } = this.#settle(id)
      return isFine ? resolve(answer) : reject(new Refusal(answer))
    }
    const held = this.#subscriptions.get(id)
    if (!held) return
    if (isFine) return held.subscription.take(answer)
    if (answer.response_status === UNAVAILABLE) return this.#askAgain(id)
    this.#subscriptions.delete(id)
    const isGone = answer.response_status === NOT_FOUND && held.subscription.position
    if (isGone) return held.subscription.gone()
    held.subscription.end(new Refusal(answer))
  }

  // The server could not subscribe just now.
  #askAgain(id) {
    setTimeout(() => {
      const held = this.#subscriptions.get(id)
      if (held && this.#isOpen) this.#send(held.stream, held.subscription.request)
    }, this.options.backoff)
  }

  // Something was heard: ask for a sign of life when nothing more is for long.
  #watch() {
    clearTimeout(this.#watching)
    this.#watching = setTimeout(() => this.#listenForLife(), this.options.silence)
  }

  #listenForLife() {
    clearTimeout(this.#watching)
    if (!this.#isOpen) return
    this.#watching = setTimeout(() => this.#closed(), this.options.echo)
    this.#send(this.#lastStream, { action: "ping", request_id: 0 })
  }

  #listen() {
    if (this.#listening || !globalThis.addEventListener) return
    this.#listening = new AbortController()
    const { signal } = this.#listening
    const wake = () => (this.#isOpen ? this.#listenForLife() : this.#return())
    globalThis.addEventListener("online", wake, { signal })
    globalThis.addEventListener("pageshow", wake, { signal })
    globalThis.document?.addEventListener("visibilitychange", wake, { signal })
  }
}

// Whether an event was told before: positions are "<epoch>:<number>".
function isOld(position, known) {
  if (!position || !known) return false
  const [[epoch, number], [knownEpoch, knownNumber]] = [position, known].map((text) => {
    const at = text.lastIndexOf(":")
    return [text.slice(0, at), Number(text.slice(at + 1))]
  })
  return epoch === knownEpoch && number <= knownNumber
}

function absolute(url) {
  const { href } = new URL(url, globalThis.location?.href)
  return href.replace(/^http/, "ws")
}
