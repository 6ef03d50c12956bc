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
 * @property {{ refresh?: object }} [currentVisit]
 * @property {{ renderPromise?: Promise<void>, snapshot: Snapshot }} view
 *
 * @typedef {object} Snapshot
 * @property {boolean} isVisitable
 * @property {{ trackedElementSignature: string }} headSnapshot
 *
 * @typedef {HTMLElement & { action: string }} StreamElement
 * @typedef {{ newStream: StreamElement, render: (stream: StreamElement) => void }} Rendering
 */

const PATIENCE = 5_000; // ms for the animation of an element

/**
 * Return a function that shows the messages of streams, one after the other.
 *
 * It does so at once, where Turbo would wait for the next animation frame. So it is
 * certain which page they go to, even if a visit replaces the page or the page is hidden.
 * Only the end of an animation that the page has put into `detail.render` is waited for.
 *
 * @param {Turbo} Turbo
 * @returns {Render}
 */
export function rendererOf(Turbo) {
  /** @type {Map<string, { epoch?: string, number: number, repeated: number }>} */
  const refreshes = new Map(); // by stream id
  /** @type {(() => Promise<unknown>)[]} */
  const waiting = [];
  let isShowing = false;

  // The page is kept as it is now, with the positions of what is waiting.
  addEventListener("turbo:before-cache", () => {
    for (const showOne of waiting.splice(0)) showOne();
  });

  return (html, message) =>
    new Promise((resolve) => {
      waiting.push(() => show(html, message).then(resolve));
      if (!isShowing) showNext();
    });

  async function showNext() {
    isShowing = true;
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      let timer;
      const late = new Promise((resolve) => (timer = setTimeout(resolve, PATIENCE)));
      await Promise.race([next(), late]);
      clearTimeout(timer);
    }
    isShowing = false;
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
    return Promise.allSettled(
      shown.map((event) => {
        if (isStale && isRefresh(event)) event.detail.render = async () => {};
        return renderNow(event.detail);
      }),
    );
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
