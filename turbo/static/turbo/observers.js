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
// A subscription begins with a snapshot, and every event has a position. After a broken
// connection, each subscription resumes at its position: the events that it missed
// follow, or another snapshot if the server no longer has them. So a page that shows
// the events of the iterator is always up to date, and gets no event twice.
//
//   → {"action":"subscribe_instance","request_id":4,"pk":1,"snapshot":true}
//   ← {"action":"subscribe_instance",…,"request_id":4,"data":{…},"position":"k3:7"}
//   ← {"action":"update",…,"request_id":4,"data":{…},"position":"k3:8"}
//   → {"action":"subscribe_instance","request_id":4,"pk":1,"since":"k3:8"}

// Django finds imports by the semicolon when it hashes the names of files.
import { ReconnectingSocket, socketAddress } from "./socket.js";

const DEFAULTS = {
  multiplexed: false, // whether the URL leads to a Multiplexer
  timeout: 30_000, // from a request to its answer, including the time to connect
};

/**
 * @import { Environment, Timer, Timing } from "./socket.js"
 *
 * @typedef {Partial<typeof DEFAULTS> & Environment & Timing} Options
 * @typedef {Record<string, any>} Payload see the reference
 * @typedef {{ action: string, data: any }} Event the value of an iterator
 *
 * @typedef {object} Waiting
 * @property {(result: IteratorResult<Event, undefined>) => void} resolve
 * @property {(error: Error) => void} reject
 *
 * @typedef {object} Request
 * @property {string | undefined} stream
 * @property {Payload} payload
 * @property {boolean} isSent
 * @property {(answer: Payload) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {Timer} timer
 *
 * @typedef {object} Held
 * @property {string | undefined} stream
 * @property {Subscription} subscription
 * @property {number} retries answers that asked to try again later
 * @property {Timer} [timer]
 */

const UNAVAILABLE = 503;
const NOT_FOUND = 404;
const READS = new Set(["list", "retrieve", "subscribe_instance", "subscribe_list"]);

// An error that the server has answered.
export class Refusal extends Error {
  name = "Refusal";

  /** @param {Payload} answer */
  constructor({ action, errors, response_status: status }) {
    super(`${action}: ${status} ${JSON.stringify(errors)}`);
    this.action = action;
    this.errors = errors;
    this.status = status;
  }
}

// The connection was lost, and the server may or may not have acted on the request.
export class ConnectionLost extends Error {
  name = "ConnectionLost";
}

/**
 * Return a client of the consumer at `url`, or with `multiplexed` of several consumers.
 *
 * @overload
 * @param {string} url
 * @param {Options & { multiplexed: true }} options
 * @returns {{ stream: (name: string) => Client, close: () => void }}
 */
/**
 * @overload
 * @param {string} url
 * @param {Options} [options]
 * @returns {Client}
 */
/**
 * @param {string} url
 * @param {Options} options
 */
export function connect(url, options = {}) {
  const connection = new Connection(url, { ...DEFAULTS, ...options });
  if (!options.multiplexed) return new Client(connection);
  /** @param {string} name */
  const stream = (name) => new Client(connection, name);
  return { stream, close: () => connection.close() };
}

export class Client {
  #connection;
  #stream;

  /**
   * @param {Connection} connection
   * @param {string} [stream]
   */
  constructor(connection, stream) {
    this.#connection = connection;
    this.#stream = stream;
  }

  /**
   * Call any action, and return its data.
   *
   * @param {string} action
   * @param {Payload} given
   */
  async request(action, given = {}) {
    const answer = await this.#connection.ask(this.#stream, { action, ...given });
    return answer.data;
  }

  /**
   * @param {Payload} query
   * @param {Payload} given
   */
  list(query = {}, given = {}) {
    return this.request("list", { query, ...given });
  }

  /** @param {unknown} data */
  create(data) {
    return this.request("create", { data });
  }

  /** @param {unknown} pk */
  retrieve(pk) {
    return this.request("retrieve", { pk });
  }

  /** @type {(pk: unknown, data: unknown) => Promise<any>} */
  update(pk, data) {
    return this.request("update", { pk, data });
  }

  /** @type {(pk: unknown, data: unknown) => Promise<any>} */
  patch(pk, data) {
    return this.request("patch", { pk, data });
  }

  /** @param {unknown} pk */
  delete(pk) {
    return this.request("delete", { pk });
  }

  /**
   * Iterate over {action, data} of one object: first a "snapshot", then its changes.
   *
   * @param {unknown} pk
   * @param {Payload} given
   */
  observe(pk, given = {}) {
    return this.#subscribe("instance", { pk, ...given });
  }

  /**
   * Iterate over {action, data} of a list in the same way.
   *
   * @param {Payload} query
   * @param {Payload} given
   */
  observeList(query = {}, given = {}) {
    return this.#subscribe("list", { query, ...given });
  }

  close() {
    this.#connection.close();
  }

  /** @type {(kind: string, given: Payload) => Subscription} */
  #subscribe(kind, given) {
    return this.#connection.subscribe(this.#stream, kind, given);
  }
}

// One subscription, an iterator for `for await`. It ends when you leave the loop.
class Subscription {
  /** @type {string | null} */
  position = null;
  /** @type {Event[]} */
  #events = [];
  /** @type {Waiting[]} calls of next() that still wait */
  #waiting = [];
  /** @type {Error | null} */
  #error = null;
  #isDone = false;
  #leave;

  /**
   * @param {Payload} payload
   * @param {() => void} leave
   */
  constructor(payload, leave) {
    this.payload = payload;
    this.#leave = leave;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** @returns {Promise<IteratorResult<Event, undefined>>} */
  next() {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#serve();
    });
  }

  /** @type {(value?: any) => Promise<IteratorReturnResult<any>>} */
  async return(value) {
    this.close();
    return { value, done: true };
  }

  close() {
    this.#events = [];
    if (this.#isDone) return;
    this.end();
    this.#leave();
  }

  // The request that begins the subscription, or resumes it.
  get request() {
    const where = this.position ? { since: this.position } : { snapshot: true };
    return { ...this.payload, ...where };
  }

  /**
   * Handle an answer or an event of the server.
   *
   * @param {Payload} answer
   */
  take({ action, data, position }) {
    const isAnswer = action === this.payload.action;
    if (!isAnswer && isOld(position, this.position)) return;
    this.position = position || this.position;
    if (isAnswer && data === null) return;
    this.#events.push({ action: isAnswer ? "snapshot" : action, data });
    this.#serve();
  }

  // The object was deleted while the connection was broken.
  gone() {
    this.#events.push({ action: "delete", data: { pk: this.payload.pk } });
    this.end();
  }

  /** @param {Error | null} error */
  end(error = null) {
    this.#error = error;
    this.#isDone = true;
    this.#serve();
  }

  // Several calls of next() may wait. Each gets one event, in the order of the calls.
  #serve() {
    while (this.#waiting.length && (this.#events.length || this.#isDone)) {
      const { resolve, reject } = /** @type {Waiting} */ (this.#waiting.shift());
      const [event, error] = [this.#events.shift(), this.#error];
      if (event) resolve({ value: event, done: false });
      else if (error) reject(error);
      else resolve({ value: undefined, done: true });
      if (!event) this.#error = null;
    }
  }
}

// The requests and subscriptions on one socket. It opens for the first of them, and
// stays open until close().
class Connection {
  #options;
  #socket;
  #isClosed = false;
  #lastId = 0;
  /** @type {string | undefined} of a multiplexer; a ping is sent to this stream */
  #lastStream;
  /** @type {Map<number, Request>} */
  #requests = new Map(); // by request id
  /** @type {Map<number, Held>} */
  #subscriptions = new Map(); // by request id

  /**
   * @param {string} url
   * @param {Required<Pick<Options, "timeout" | "multiplexed">> & Options} options
   */
  constructor(url, options) {
    this.#options = options;
    this.#socket = new ReconnectingSocket({
      ...options,
      url: () => socketAddress(url, options.document?.baseURI),
      isWanted: () => this.#requests.size + this.#subscriptions.size > 0,
      ping: () => this.#message(this.#lastStream, { action: "ping", request_id: 0 }),
      opened: () => this.#opened(),
      received: (message) => this.#receive(message),
      closed: (end) => this.#closed(end),
    });
  }

  /** @type {(stream: string | undefined, payload: Payload) => Promise<Payload>} */
  ask(stream, payload) {
    return new Promise((resolve, reject) => {
      const id = this.#nextId();
      const late = () =>
        this.#settle(id)?.reject(new ConnectionLost("no answer in time"));
      const timer = setTimeout(late, this.#options.timeout);
      const numbered = { ...payload, request_id: id };
      const request = {
        stream,
        payload: numbered,
        isSent: false,
        resolve,
        reject,
        timer,
      };
      this.#requests.set(id, request);
      this.#socket.connect();
      if (this.#socket.isOpen) this.#sendRequest(request);
    });
  }

  /** @type {(stream: string | undefined, kind: string, given: Payload) => Subscription} */
  subscribe(stream, kind, given) {
    const id = this.#nextId();
    const payload = { ...given, action: `subscribe_${kind}`, request_id: id };
    const leave = () => {
      this.#release(id);
      const { pk } = given;
      this.#send(stream, { action: `unsubscribe_${kind}`, pk, request_id: id });
    };
    const subscription = new Subscription(payload, leave);
    this.#subscriptions.set(id, { stream, subscription, retries: 0 });
    this.#socket.connect();
    this.#send(stream, subscription.request);
    return subscription;
  }

  close() {
    this.#isClosed = true;
    this.#giveUp(new ConnectionLost("closed"));
    this.#socket.disconnect();
  }

  #nextId() {
    if (this.#isClosed) throw new ConnectionLost("closed");
    return (this.#lastId += 1);
  }

  #opened() {
    for (const request of this.#requests.values()) this.#sendRequest(request);
    for (const { stream, subscription } of this.#subscriptions.values()) {
      this.#send(stream, subscription.request);
    }
  }

  /** @param {{ isRefused: boolean }} end */
  #closed({ isRefused }) {
    if (isRefused) {
      const why = { action: "connect", errors: ["forbidden"], response_status: 403 };
      return this.#giveUp(new Refusal(why));
    }
    for (const { timer } of this.#subscriptions.values()) clearTimeout(timer);
    for (const [id, { payload, isSent }] of this.#requests) {
      if (!isSent || READS.has(payload.action)) continue;
      this.#settle(id)?.reject(new ConnectionLost("the server may have done it"));
    }
  }

  /** @param {Error} error */
  #giveUp(error) {
    for (const id of this.#requests.keys()) this.#settle(id)?.reject(error);
    for (const [id, { subscription }] of this.#subscriptions) {
      this.#release(id);
      subscription.end(error instanceof Refusal ? error : null);
    }
  }

  /** @param {number} id */
  #settle(id) {
    const request = this.#requests.get(id);
    clearTimeout(request?.timer);
    this.#requests.delete(id);
    return request;
  }

  /** @param {number} id */
  #release(id) {
    clearTimeout(this.#subscriptions.get(id)?.timer);
    this.#subscriptions.delete(id);
  }

  /** @param {Request} request */
  #sendRequest(request) {
    request.isSent = true;
    this.#send(request.stream, request.payload);
  }

  /** @type {(stream: string | undefined, payload: Payload) => void} */
  #send(stream, payload) {
    this.#lastStream = stream;
    this.#socket.send(this.#message(stream, payload));
  }

  /** @type {(stream: string | undefined, payload: Payload) => object} */
  #message(stream, payload) {
    return this.#options.multiplexed ? { stream, payload } : payload;
  }

  /** @param {Payload} message */
  #receive(message) {
    this.#socket.forgetAttempts();
    const answer = this.#options.multiplexed ? message.payload : message;
    const id = answer.request_id;
    const isFine = answer.response_status < 300;
    const request = this.#settle(id);
    if (request && isFine) return request.resolve(answer);
    if (request) return request.reject(new Refusal(answer));
    const held = this.#subscriptions.get(id);
    if (!held) return;
    if (answer.response_status === UNAVAILABLE) return this.#askAgain(held);
    held.retries = 0;
    if (isFine) return held.subscription.take(answer);
    this.#release(id);
    const isGone = answer.response_status === NOT_FOUND && held.subscription.position;
    if (isGone) return held.subscription.gone();
    held.subscription.end(new Refusal(answer));
  }

  /**
   * Subscribe again later, because the server could not do so now.
   *
   * @param {Held} held
   */
  #askAgain(held) {
    const { stream, subscription } = held;
    const again = () => this.#send(stream, subscription.request);
    held.timer = setTimeout(again, this.#socket.delay(held.retries));
    held.retries += 1;
  }
}

/**
 * Return whether an event is not new; positions are "<epoch>:<number>".
 *
 * @param {string | null | undefined} position
 * @param {string | null} known
 */
function isOld(position, known) {
  if (!position || !known) return false;
  const [[epoch, number], [knownEpoch, knownNumber]] = [position, known].map((text) => {
    const at = text.lastIndexOf(":");
    return /** @type {const} */ ([text.slice(0, at), Number(text.slice(at + 1))]);
  });
  return epoch === knownEpoch && number <= knownNumber;
}
