// What the client uses of Turbo, and how it shows the messages of a stream.

/**
 * @import { Message, Render } from "./connection.js"
 *
 * The parts of Turbo that are used here.
 *
 * @typedef {object} Turbo
 * @property {(html: string) => void} renderStreamMessage
 * @property {(url: string, options: object) => void} visit
 * @property {typeof fetch} fetch
 * @property {Navigator} navigator
 * @property {{ recentRequests: Set<string | null> }} session
 * @property {Record<string, (this: Element) => void>} StreamActions
 * @property {{ fromHTMLString: (html: string) => Snapshot }} PageSnapshot
 *
 * @typedef {object} Navigator
 * @property {{ state: string, refresh?: object }} [currentVisit]
 * @property {{ renderPromise?: Promise<void>, snapshot: Snapshot }} view
 *
 * @typedef {object} Snapshot
 * @property {boolean} isVisitable
 * @property {{ trackedElementSignature: string }} headSnapshot
 *
 * @typedef {HTMLElement & { action: string }} StreamElement
 * @typedef {{ newStream: StreamElement, render: (stream: StreamElement) => void }} Rendering
 */

const PATIENCE = 5_000; // ms for an animation
const LEAVING = ["remove", "replace", "update"];

/**
 * Return a function that shows the messages of streams.
 *
 * It does so at once, where Turbo would wait for the next animation frame. So it is
 * certain which page they go to, even if a visit replaces the page or the page is hidden.
 * Only if the page has put an animation into `detail.render`, by which an element leaves,
 * the messages about that element wait for its end.
 *
 * @param {Turbo} Turbo
 * @returns {Render}
 */
export function rendererOf(Turbo) {
  /** @type {Map<string, { epoch?: string, number: number, repeated: number }>} */
  const refreshes = new Map(); // by stream id
  // Pages without text.js get growing text as well, if they show the stream.
  Turbo.StreamActions.grow ??= Turbo.StreamActions.progress ??= () => {};
  const { prototype } = /** @type {any} */ (customElements.get("turbo-stream"));
  // Turbo would look at all children of the target, for each message.
  Object.defineProperty(prototype, "duplicateChildren", { get: duplicateChildren });
  /** @type {Set<string>} the ids of elements that are leaving */
  const leaving = new Set();
  /** @type {{ html: string, run: () => void }[]} */
  const waiting = [];

  // The page is kept as it is now, with the positions of what is waiting.
  addEventListener("turbo:before-cache", () => {
    for (const { run } of waiting.splice(0)) run();
  });

  return (html, message) =>
    new Promise((resolve) => {
      waiting.push({ html, run: () => show(html, message).then(resolve) });
      proceed();
    });

  function proceed() {
    /** @param {string} id */
    const isNamed = (id) => waiting[0].html.includes(`"${id}"`);
    while (waiting.length && ![...leaving].some(isNamed)) waiting.shift()?.run();
  }

  /** @type {(id: string, rendering: Promise<unknown>) => void} */
  function leave(id, rendering) {
    leaving.add(id);
    const end = () => {
      clearTimeout(timer);
      if (leaving.delete(id)) proceed();
    };
    const timer = setTimeout(end, PATIENCE);
    rendering.then(end, end);
  }

  /** @type {(html: string, message: Message) => Promise<unknown>} */
  async function show(html, message) {
    /** @type {CustomEvent<Rendering>[]} */
    const events = [];
    /** @param {any} event */
    const collect = (event) => events.push(event);
    addEventListener("turbo:before-stream-render", collect, true);
    try {
      Turbo.renderStreamMessage(html);
    } catch (error) {
      console.error(error); // an invalid message must not stop the others
    } finally {
      removeEventListener("turbo:before-stream-render", collect, true);
    }
    const shown = events.filter(({ defaultPrevented }) => !defaultPrevented);
    /** @param {CustomEvent<Rendering>} event */
    const isRefresh = ({ detail }) => detail.newStream.action === "refresh";
    const isStale = shown.some(isRefresh) && isRepeated(message);
    const renderings = shown.map(({ detail }) => {
      const { newStream } = detail;
      if (isStale && newStream.action === "refresh") detail.render = async () => {};
      const rendering = renderNow(detail);
      const id = newStream.getAttribute("target");
      if (id && LEAVING.includes(newStream.action)) leave(id, rendering);
      return rendering;
    });
    return Promise.allSettled(renderings);
  }

  /**
   * Return whether a refresh has been repeated too often. A page from a cache gets the
   * refresh again with the messages that it missed, and would refresh itself for ever.
   * Three repetitions are enough for a prefetched page.
   *
   * @param {Message} message
   */
  function isRepeated({ stream, epoch, number }) {
    const last = refreshes.get(stream);
    if (number === undefined) return false;
    if (last && last.epoch === epoch && number <= last.number)
      return ++last.repeated > 3;
    refreshes.set(stream, { epoch, number, repeated: 0 });
    return false;
  }
}

/**
 * Return the children of the targets whose ids come again.
 *
 * @this {any}
 */
function duplicateChildren() {
  const { targetElements, templateContent } = this;
  /** @type {Element[]} */
  const children = [...(templateContent?.children ?? [])];
  return children
    .flatMap((child) => child.getAttribute("id") || [])
    .flatMap((id) => [...document.querySelectorAll(`#${CSS.escape(id)}`)])
    .filter(({ parentElement }) => targetElements.includes(parentElement));
}

/**
 * Render now. Turbo awaits the same promise, then removes the element, and reports
 * errors.
 *
 * @param {Rendering} detail
 */
function renderNow(detail) {
  const { newStream, render } = detail;
  const rendering = (async () => render(newStream))();
  rendering.catch(() => {});
  detail.render = () => rendering;
  return rendering;
}
