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

/**
 * Show `html` at once, where Turbo would wait for the next animation frame. So it is
 * certain which page it goes to, even if a visit replaces the page or the page is
 * hidden.
 *
 * @param {Turbo} Turbo
 * @returns {Render}
 */
export function rendererOf(Turbo) {
  /** @type {Map<string, { epoch?: string, number: number, repeated: number }>} */
  const refreshes = new Map(); // by stream id

  return (html, { stream, epoch, number }) => {
    /** @type {CustomEvent<Rendering>[]} */
    const events = [];
    /** @param {any} event */
    const collect = (event) => events.push(event);
    addEventListener("turbo:before-stream-render", collect, true);
    try {
      Turbo.renderStreamMessage(html);
    } finally {
      removeEventListener("turbo:before-stream-render", collect, true);
    }
    const shown = events.filter(({ defaultPrevented }) => !defaultPrevented);
    /** @param {CustomEvent<Rendering>} event */
    const isRefresh = ({ detail }) => detail.newStream.action === "refresh";
    const isStale = shown.some(isRefresh) && isRepeated({ stream, epoch, number });
    for (const event of shown) {
      if (isStale && isRefresh(event)) event.detail.render = () => {};
      else renderNow(event.detail);
    }
  };

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
}
