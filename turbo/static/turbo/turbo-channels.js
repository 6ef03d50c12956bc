// The page's end of its streams: one WebSocket for all stream sources of the page.
//
//   <meta name="turbo-channels-url" content="/ws/">
//   <turbo-channels-stream-source signed-stream-name="…" since="@…">
//
//   → {"type":"subscribe","streams":[{"name":"<signed>","since":"@…"}]}
//   ← {"type":"subscribed","name":"<signed>","stream":"<id>","position":"k3:7",
//      "recovered":true}
//   ← {"type":"message","stream":"<id>","position":"k3:8","data":"<turbo-stream …>…"}
//   ← {"type":"gap","stream":"<id>","position":"k3:9"}
//   ← {"type":"denied","name":"<signed>","reason":"forbidden"}
//   ← {"type":"retry","name":"<signed>","reason":"unavailable"}
//   → {"type":"unsubscribe","streams":["<signed>"]}
//
// A position is "<epoch>:<number>", and the numbers of a stream have no holes. The
// attribute `since` always says where the page around its element stands: the moment at
// which the server began to render it ("@…", which only the server can read), later the
// last message applied. So a visit, a cached snapshot, a morph, a frame and a move are
// one case: what came after `since` is applied, in order, once. That includes the morph
// that brings back an older `since`, for it has brought back the older page, too.
//
// Custom actions belong into Turbo.StreamActions. Turbo itself ignores a refresh whose
// request-id is of a request that this page has made.

// The semicolon is there for Django, which looks for it when it gives files hashed names.
import { DEFAULTS, ReconnectingSocket, socketAddress } from "./socket.js";

const TAG = "turbo-channels-stream-source"
const LINGER = 300 // ms that a stream without elements is kept: Turbo moves elements
const BATCH = 50 // entries of a frame, far below the server's limits

const parse = (position) => {
  const [, epoch, number] = /^([0-9a-z]+):(\d+)$/i.exec(position ?? "") ?? []
  return epoch === undefined ? null : { epoch, number: Number(number) }
}

const isAhead = (one, other) => one.epoch === other.epoch && one.number >= other.number

// Where one element stands in its stream. Only the connection writes to it.
export class Source {
  epoch = null // null until the server has said what the moment in `since` means
  number = null
  following = false // no message of the stream will be missing from now on
  #seen = new Map() // stream id → what was applied to the page while it was not

  constructor({ name, since, notify }) {
    Object.assign(this, { name, since: since ?? "", notify }, parse(since))
  }

  move({ epoch, number }) {
    if (epoch === this.epoch && number === this.number) return
    Object.assign(this, { epoch, number, since: `${epoch}:${number}` })
    this.notify("moved", { position: this.since })
  }

  see(id, { epoch, number }) {
    const seen = this.#seen.get(id)
    const isNext = seen?.epoch === epoch && seen.last === number - 1
    this.#seen.set(id, { epoch, first: isNext ? seen.first : number, last: number })
  }

  // Start at `base`, or as much later as the page around the element has come already.
  follow(id, base) {
    const { epoch, first, last } = this.#seen.get(id) ?? {}
    const isLater = base && epoch === base.epoch && first <= base.number + 1
    if (base) this.move(isLater ? { epoch, number: Math.max(base.number, last) } : base)
    this.following = true
    this.#seen.clear()
    this.notify("connected", { position: this.since })
  }

  stop(kind, detail = {}) {
    this.following = false
    this.notify(kind, detail)
  }
}

// One signed name, and the elements that hold it.
class Subscription {
  sources = new Set()
  stream = null // its id, from the last answer
  denied = null
  live = false // accepted on this socket
  asked = null // the `since` of the question that is not answered yet
  askedAt = 0
  tries = 0 // questions without an answer
  retries = 0 // answers that said "later"
  timer = null
  madeAt = Date.now()

  constructor(name) {
    this.name = name
  }

  get waiting() {
    return this.denied ? [] : [...this.sources].filter(({ following }) => !following)
  }

  // The earliest `since` that is waited for. Moments go first: only the server can tell.
  get since() {
    const isFirst = (one, other) => one.epoch === null || one.number <= other.number
    return this.waiting.reduce((one, other) => (isFirst(one, other) ? one : other)).since
  }

  settle() {
    clearTimeout(this.timer)
    Object.assign(this, { asked: null, timer: null, tries: 0 })
  }
}

// The subscriptions on the socket of the page, and the order of their messages.
//
// Options: those of the socket, renderer (a promise of render(html, message)), settled()
// (called when no source waits), linger.
export class Connection {
  #options
  #socket
  #render = null
  #subscriptions = new Map() // signed name → Subscription
  #streams = new Map() // stream id → { id, epoch, number (the last that came), repairedAt }
  #asking = new Set()
  #leaving = null

  constructor(options) {
    this.#options = { ...DEFAULTS, linger: LINGER, ...options }
    this.#socket = new ReconnectingSocket({
      ...options,
      isWanted: () => this.#isWaiting,
      opened: () => this.#askAll(),
      received: (frame) => this.#receive(frame),
      closed: (end) => this.#closed(end),
      ticked: () => this.#askAgain(),
    })
    this.#options.renderer.then((render) => {
      this.#render = render
      for (const stream of this.#streams.values()) this.#repair(stream)
    })
  }

  attach(source) {
    const { name } = source
    const subscription = this.#subscriptions.get(name) ?? new Subscription(name)
    this.#subscriptions.set(name, subscription)
    subscription.sources.add(source)
    subscription.denied = null
    const stream = subscription.live && this.#streams.get(subscription.stream)
    if (stream && isAhead(source, stream)) source.follow(stream.id, source)
    else this.#ask(subscription)
    this.#socket.connect()
  }

  detach(source) {
    this.#subscriptions.get(source.name)?.sources.delete(source)
    source.following = false
    this.#leaveLater()
  }

  // --- Subscriptions

  // What is asked for within one microtask travels in one frame.
  #ask(subscription) {
    if (this.#asking.size === 0) queueMicrotask(() => this.#sendQuestions())
    this.#asking.add(subscription)
  }

  #sendQuestions() {
    const isDue = ({ asked, timer, waiting }) => !timer && asked === null && waiting[0]
    const due = this.#socket.isOpen ? [...this.#asking].filter(isDue) : []
    this.#asking.clear()
    for (const subscription of due) {
      Object.assign(subscription, { asked: subscription.since, askedAt: Date.now() })
    }
    this.#sendAll("subscribe", due.map(({ name, asked }) => ({ name, since: asked })))
  }

  #sendAll(type, entries) {
    for (let start = 0; start < entries.length; start += BATCH) {
      this.#socket.send({ type, streams: entries.slice(start, start + BATCH) })
    }
  }

  #askAll() {
    for (const subscription of this.#subscriptions.values()) this.#ask(subscription)
  }

  // Ask again what was not answered. A second time it is the socket that does not answer.
  #askAgain() {
    const since = Date.now() - this.#options.patience
    const isLate = ({ asked, askedAt }) => asked !== null && askedAt <= since
    const late = [...this.#subscriptions.values()].filter(isLate)
    if (late.some(({ tries }) => tries > 0)) return this.#socket.giveUp()
    for (const subscription of late) {
      this.#settle(subscription)
      subscription.tries = 1
      this.#ask(subscription)
    }
  }

  #closed({ isRefused }) {
    for (const subscription of this.#subscriptions.values()) {
      subscription.settle()
      subscription.live = false
      if (subscription.denied) continue
      if (isRefused) this.#deny(subscription, "forbidden")
      else for (const source of subscription.sources) source.stop("disconnected")
    }
  }

  #leaveLater() {
    clearTimeout(this.#leaving)
    this.#leaving = setTimeout(() => this.#leave(), this.#options.linger)
  }

  // Give up the streams that no element shows any more; return how many there were. An
  // answer on its way is waited for, lest it be taken for that to a later question.
  #leave() {
    const empty = [...this.#subscriptions.values()].filter(({ sources }) => !sources.size)
    if (empty.length === this.#subscriptions.size) this.#socket.disconnect()
    const left = empty.filter(({ asked }) => asked === null)
    for (const subscription of left) {
      subscription.settle()
      this.#subscriptions.delete(subscription.name)
    }
    const kept = new Set([...this.#subscriptions.values()].map(({ stream }) => stream))
    for (const id of this.#streams.keys()) if (!kept.has(id)) this.#streams.delete(id)
    const held = left.filter(({ denied }) => !denied)
    this.#sendAll("unsubscribe", held.map(({ name }) => name))
    return left.length
  }

  #receive(frame) {
    const subscription = this.#subscriptions.get(frame.name)
    const stream = this.#streams.get(frame.stream)
    if (stream && frame.type === "message") this.#take(stream, frame)
    if (stream && frame.type === "gap") this.#lose(stream, parse(frame.position))
    if (subscription && frame.type === "subscribed") this.#accept(subscription, frame)
    if (subscription && frame.type === "denied") this.#deny(subscription, frame.reason)
    if (subscription && frame.type === "retry") this.#postpone(subscription)
    if (frame.type === "error") console.warn(`${TAG}: ${frame.reason}`, frame.detail)
  }

  // The answer is followed by everything after its position, also by what came before it.
  #accept(subscription, { stream: id, position, recovered }) {
    const { asked } = subscription
    const base = parse(position)
    const stream = this.#streams.get(id) ?? { id, epoch: null, number: 0, repairedAt: null }
    this.#streams.set(id, stream)
    this.#settle(subscription)
    Object.assign(subscription, { live: true, stream: id, retries: 0 })
    this.#socket.forgetAttempts()
    if (base && stream.epoch !== base.epoch) this.#lose(stream, base)
    if (base) this.#reach(stream, base)
    for (const source of subscription.waiting) {
      if (recovered && base && isAhead(source, base)) source.follow(id, source)
      else if (source.since === asked) source.follow(id, base)
      if (source.following && !recovered) source.notify("gap", { position })
    }
    if (subscription.waiting.length) this.#ask(subscription)
    if (!this.#isWaiting) this.#options.settled()
  }

  #deny(subscription, reason) {
    this.#settle(subscription)
    // The streams of the page before count until they are left: make room, ask again.
    if (reason === "limit" && this.#leave()) return this.#ask(subscription)
    // The socket may be older than the log-in for which the page was rendered.
    if (reason === "foreign" && subscription.madeAt > this.#socket.openedAt) {
      return this.#socket.reconnect()
    }
    Object.assign(subscription, { live: false, denied: reason })
    for (const source of subscription.sources) source.stop("denied", { reason })
    if (!this.#isWaiting) this.#options.settled()
  }

  #postpone(subscription) {
    const delay = this.#socket.delay(subscription.retries)
    this.#settle(subscription)
    subscription.live = false
    subscription.retries += 1
    for (const source of subscription.sources) source.stop("disconnected")
    subscription.timer = setTimeout(() => {
      subscription.timer = null
      this.#ask(subscription)
    }, delay)
  }

  #settle(subscription) {
    subscription.settle()
    if (subscription.sources.size === 0) this.#leaveLater()
  }

  get #isWaiting() {
    return [...this.#subscriptions.values()].some(({ waiting }) => waiting.length > 0)
  }

  // --- Messages

  #take(stream, { position, data }) {
    const at = parse(position)
    if (at === null) return this.#takeUnnumbered(stream, data)
    if (at.epoch !== stream.epoch) this.#lose(stream, { ...at, number: at.number - 1 })
    this.#reach(stream, at)
    const low = this.#low(stream)
    if (this.#render === null || at.number <= low) return
    if (at.number === low + 1) this.#apply(stream.id, at, data)
    else this.#repair(stream)
  }

  // Without a replay log there are no numbers: live messages, and no promise.
  #takeUnnumbered(stream, data) {
    if (this.#followers(stream).length === 0) return
    if (this.#render) this.#show(data, { stream: stream.id })
    else this.#lose(stream, null)
  }

  #show(data, message) {
    try {
      this.#render(data, message)
    } catch (error) {
      console.error(error) // one bad message must not hold up the others
    }
  }

  #apply(id, at, data) {
    this.#show(data, { stream: id, ...at })
    for (const { stream, sources } of this.#subscriptions.values()) {
      for (const source of sources) {
        const isNext = source.epoch === at.epoch && source.number === at.number - 1
        if (stream === id && isNext) source.move(at)
        else if (!source.following) source.see(id, at)
      }
    }
  }

  #followers({ id }) {
    const mine = [...this.#subscriptions.values()].filter(({ stream }) => stream === id)
    return mine.flatMap(({ sources }) => [...sources].filter((one) => one.following))
  }

  // What the follower that stands furthest back has; the others have had what follows.
  #low(stream) {
    return Math.min(...this.#followers(stream).map(({ number }) => number ?? Infinity))
  }

  #reach(stream, at) {
    if (at.epoch === stream.epoch) stream.number = Math.max(stream.number, at.number)
    else Object.assign(stream, at, { repairedAt: null })
  }

  // Nobody can say what happened until `at`: go on from there, and tell.
  #lose(stream, at) {
    if (at) this.#reach(stream, at)
    for (const source of this.#followers(stream)) {
      if (at && isAhead(source, at)) continue
      if (at) source.move(at)
      source.notify("gap", { position: source.since })
    }
  }

  // Ask for what followers missed: there was no Turbo yet, or the server left a hole,
  // which it never does twice at the same place.
  #repair(stream) {
    const low = this.#low(stream)
    if (low >= stream.number) return
    if (stream.repairedAt === low) return this.#lose(stream, { ...stream })
    stream.repairedAt = low
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.stream !== stream.id) continue
      for (const source of subscription.sources) source.following &&= source.number > low
      this.#ask(subscription)
    }
  }
}

// --- Turbo

// Show `html` at once; Turbo itself would in the next frame. So it is certain into which
// page it goes, also while a visit replaces the page and while the page is hidden.
function rendererOf(Turbo) {
  const refreshes = new Map() // stream id → { epoch, number, repeated }

  return (html, { stream, epoch, number }) => {
    const events = []
    const collect = (event) => events.push(event)
    addEventListener("turbo:before-stream-render", collect, true)
    try {
      Turbo.renderStreamMessage(html)
    } finally {
      removeEventListener("turbo:before-stream-render", collect, true)
    }
    const shown = events.filter(({ defaultPrevented }) => !defaultPrevented)
    const isRefresh = ({ detail }) => detail.newStream.action === "refresh"
    const isStale = shown.some(isRefresh) && isRepeated({ stream, epoch, number })
    for (const event of shown) {
      if (isStale && isRefresh(event)) event.detail.render = () => {}
      else renderNow(event.detail)
    }
  }

  // A page that comes out of a cache has the refresh again among what it missed: it would
  // refresh itself for ever. Three repetitions are enough for a page that was prefetched.
  function isRepeated({ stream, epoch, number }) {
    const last = refreshes.get(stream)
    if (number === undefined) return false
    if (last?.epoch === epoch && number <= last.number) return ++last.repeated > 3
    refreshes.set(stream, { epoch, number, repeated: 0 })
    return false
  }
}

// Turbo awaits the same promise, removes the element then, and reports what went wrong.
function renderNow(detail) {
  const { newStream, render } = detail
  const rendering = (async () => render(newStream))()
  rendering.catch(() => {})
  detail.render = () => rendering
}

// --- Healing

const HISTORY = "turbo-channels-refreshes"

// Fetches the page anew and has Turbo morph it, once for all streams that lost something.
//
// It waits for visits and forms that are on their way, where Turbo would cancel them.
class Refresher {
  #options
  #sources = new Set()
  #timer = null
  #isRunning = false
  #failures = 0
  #history = { rounds: 0, at: 0 }

  // Options: turbo (a promise), pause, rounds, calm, random.
  constructor(options) {
    const defaults = { pause: 1_000, rounds: 5, calm: 60_000, random: Math.random }
    this.#options = { ...defaults, ...options }
  }

  request(source) {
    this.#sources.add(source)
    this.#options.turbo.then((Turbo) => this.#schedule(Turbo))
  }

  // The element has left, or has got a new place from the server.
  release(source) {
    this.#sources.delete(source)
  }

  // Every stream is followed: what is lost from now on is not the refresh's fault.
  settled() {
    if (this.#sources.size === 0 && this.#rounds > 0) this.#rounds = 0
  }

  get #rounds() {
    const { rounds, at } = recall() ?? this.#history
    return Date.now() - at < this.#options.calm ? rounds : 0
  }

  set #rounds(rounds) {
    this.#history = { rounds, at: Date.now() }
    remember(this.#history)
  }

  // At random, for all pages of a server that has lost its log come at the same time;
  // and ever later, for the page may come from a cache and bring the same loss again.
  #schedule(Turbo) {
    if (this.#timer !== null || this.#isRunning || this.#sources.size === 0) return
    const { pause, rounds, random } = this.#options
    if (this.#rounds >= rounds) {
      this.#sources.clear()
      return console.warn(`${TAG}: no refresh helps, the page may be out of date`)
    }
    const failed = Math.min(this.#rounds + this.#failures, 5)
    this.#later(Turbo, pause * (random() + (failed && 2 ** failed)))
  }

  #later(Turbo, delay) {
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#run(Turbo)
    }, delay)
  }

  async #run(Turbo) {
    if (this.#sources.size === 0) return
    if (isBusy(Turbo)) return this.#later(Turbo, this.#options.pause / 4)
    this.#isRunning = true
    try {
      await this.#refresh(Turbo, location.href)
      this.#failures = 0
    } catch (error) {
      this.#failures += 1
      console.warn(`${TAG}: the page could not be refreshed`, error)
    } finally {
      this.#isRunning = false
      this.#schedule(Turbo)
    }
  }

  // Turbo would show whatever comes, and load the page where nothing comes: look first.
  async #refresh(Turbo, url) {
    const headers = { Accept: "text/html, application/xhtml+xml" }
    const response = await (Turbo.fetch ?? fetch)(url, { headers, cache: "reload" })
    const { ok, status, redirected } = response
    const responseHTML = await response.text()
    if (status >= 500) throw new Error(`status ${status}`)
    if (location.href !== url || isBusy(Turbo) || this.#sources.size === 0) return
    this.#rounds += 1
    if (redirected) return Turbo.visit(response.url, { action: "replace" })
    if (ok) morph(Turbo, url, { statusCode: status, responseHTML, redirected })
  }
}

// Across page loads, for there are pages that Turbo can only refresh by loading them; but
// the browser may be told to store nothing.
function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(HISTORY))
  } catch {
    return null
  }
}

function remember(history) {
  try {
    sessionStorage.setItem(HISTORY, JSON.stringify(history))
  } catch {}
}

function isBusy({ navigator }) {
  const busy = "html[aria-busy=true], form[aria-busy=true]"
  return Boolean(navigator?.currentVisit || document.querySelector(busy))
}

function morph(Turbo, url, response) {
  const refresh = { method: "morph", scroll: "preserve" }
  Turbo.visit(url, { action: "replace", shouldCacheSnapshot: false, response, refresh })
}

// A morph by Turbo sets every field back to what the server rendered, also the one with
// the focus. Nobody at this page has asked for a refresh, be it ours or a broadcast one,
// so what has been typed stays, and so does a frame with a form that the page lacks.
function keepTyped({ navigator }) {
  addEventListener("turbo:before-morph-element", (event) => {
    const isRefresh = "method" in (navigator.currentVisit?.refresh ?? {})
    const { newElement } = event.detail
    if (!isRefresh || !newElement) return
    if (isTyped(event.target) || isInUse(event.target, newElement)) event.preventDefault()
  })
}

function isInUse(frame, newFrame) {
  if (frame.localName !== "turbo-frame") return false
  const isWanted = (field) => isTyped(field) || field === document.activeElement
  const isLacking = ({ name }) => !newFrame.querySelector(`[name="${CSS.escape(name)}"]`)
  const fields = [...frame.querySelectorAll("input, textarea, select")]
  return fields.some((field) => isWanted(field) && isLacking(field))
}

function isTyped(element) {
  if (element.isContentEditable) return element === document.activeElement
  if (element instanceof HTMLSelectElement) return isChosen(element)
  const { value, defaultValue = value, checked, defaultChecked } = element
  return value !== defaultValue || checked !== defaultChecked
}

function isChosen({ options, multiple }) {
  const preset = [...options].filter(({ defaultSelected }) => defaultSelected)
  const usual = preset.length || multiple ? preset : [options[0]]
  return [...options].some((option) => option.selected !== usual.includes(option))
}

// --- The page

const isBrowser = globalThis.customElements !== undefined
const whenDefined = isBrowser && customElements.whenDefined("turbo-stream")
const turbo = isBrowser && whenDefined.then(() => window.Turbo)
const refresher = isBrowser && new Refresher({ turbo })
if (isBrowser) turbo.then(keepTyped)
const connection = isBrowser && new Connection({
  url: addressOfStreams,
  renderer: turbo.then(rendererOf),
  settled: () => refresher.settled(),
})

function addressOfStreams() {
  const meta = document.querySelector('meta[name="turbo-channels-url"]')
  return socketAddress(meta?.content || "/ws/", location.href)
}

// A preview is a picture of the page. What Turbo carries through it goes on living.
const isPreview = (element) =>
  document.documentElement.hasAttribute("data-turbo-preview") &&
  element.closest("[data-turbo-permanent]") === null

// Has the attribute `connected` while it is, and `denied` with the reason if it may not;
// fires turbo-stream:connected, :disconnected, :gap (cancelable: prevents the refresh of
// the page) and :denied, which bubble and have { name, position, reason } as detail.
class StreamSourceElement extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["signed-stream-name", "since", "connected"]

  #source = null
  #isConnected = false
  #isChanging = false

  connectedCallback() {
    this.removeAttribute("denied")
    if (!isPreview(this)) this.#join()
    this.#isConnected = this.#source?.following ?? false
    this.toggleAttribute("connected", this.#isConnected)
  }

  disconnectedCallback() {
    this.#part()
  }

  // A morph sets attributes one by one, and takes away what the server does not know.
  attributeChangedCallback() {
    if (this.#source === null || this.#isChanging) return
    this.#isChanging = true
    queueMicrotask(() => this.#change())
  }

  #change() {
    this.#isChanging = false
    if (this.#source === null) return
    const { name, since } = this.#source
    const [newName, newSince] = this.#attributes
    if (name !== newName || since !== newSince) {
      this.#part()
      this.removeAttribute("denied")
      this.#join()
    }
    this.toggleAttribute("connected", this.#isConnected)
  }

  #join() {
    const [name, since] = this.#attributes
    if (!name) return
    const notify = (kind, detail) => this.#notice(source, kind, detail)
    const source = new Source({ name, since, notify })
    this.#source = source
    connection.attach(source)
  }

  #part() {
    if (this.#source === null) return
    connection.detach(this.#source)
    refresher.release(this.#source)
    this.#source = null
  }

  get #attributes() {
    return ["signed-stream-name", "since"].map((name) => this.getAttribute(name) ?? "")
  }

  // What hears an event may take the element out of the page.
  #notice(source, kind, { reason, position } = {}) {
    if (kind === "moved") return this.setAttribute("since", position)
    if (kind === "connected" || kind === "disconnected") return this.#show(source, kind)
    if (kind === "denied") {
      this.#show(source, "disconnected")
      this.setAttribute("denied", reason)
    }
    const isWanted = this.#fire(source, kind, { reason, position })
    const isLost = kind === "gap" || reason === "expired"
    if (isWanted && isLost && source === this.#source) refresher.request(source)
  }

  #show(source, kind) {
    const isConnected = kind === "connected"
    if (isConnected === this.#isConnected) return
    this.#isConnected = isConnected
    this.toggleAttribute("connected", isConnected)
    this.#fire(source, kind)
  }

  #fire({ name, since }, kind, { reason, position = since } = {}) {
    const detail = { name, position, reason }
    const options = { bubbles: true, cancelable: kind === "gap", detail }
    return this.dispatchEvent(new CustomEvent(`turbo-stream:${kind}`, options))
  }
}

// Not twice, should the page load the module under two addresses.
if (isBrowser && !customElements.get(TAG)) customElements.define(TAG, StreamSourceElement)
