// A WebSocket whose server is the test, and a page whose events the test fires.

// The clock is mocked in these tests, immediates are not.
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export class FakeSocket {
  static all = [];

  sent = [];
  isClosed = false;
  onopen = null;
  onmessage = null;
  onclose = null;

  constructor(url) {
    this.url = url;
    this.constructor.all.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  // What a server does:

  async accept() {
    this.onopen?.();
    await settle();
  }

  async say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
    await settle();
  }

  async end(code) {
    this.onclose?.({ code });
    await settle();
  }
}

// Knows how many listeners are on it that can be taken away.
export class FakeTarget extends EventTarget {
  hidden = false;
  navigator = { onLine: true };
  #signals = [];

  get listeners() {
    return this.#signals.filter(({ aborted }) => !aborted).length;
  }

  addEventListener(name, handler, options) {
    if (options) this.#signals.push(options.signal);
    super.addEventListener(name, handler, options);
  }

  fire(name, fields = {}) {
    this.dispatchEvent(Object.assign(new Event(name), fields));
    return settle();
  }
}
