// Whispers: signals that the pages of a stream pass on to each other.
//
//   source.whisper("typing", { draft: true });
//   source.addEventListener("turbo-stream:whisper", ({ detail }) => …);
//
// The detail is { name, data, user }. The server has added whose page it was, or null
// for nobody who is logged in. A page does not get its own whispers.

const TAG = "turbo-channels-stream-source";
const EVENT_TAG = "turbo-stream-source"; // Turbo's own, for server-sent events
let isWarned = false;

/**
 * @import { Handle } from "./turbo-channels.js"
 *
 * @typedef {{ name: string, data: any, user: string | null }} Whispered
 */

/**
 * Pass a signal on to the other pages of the stream of this element. Return whether it
 * was sent: it is not while the page is not connected.
 *
 * @this {Element}
 * @param {string} name one that the stream declares in Meta.whispers
 * @param {any} [data] a value of at most 1 KiB as JSON
 * @returns {boolean}
 */
function whisper(name, data = null) {
  const signed = this.getAttribute("signed-stream-name") ?? "";
  /** @type {Handle | undefined} */
  const connection = /** @type {any} */ (globalThis).TurboChannels;
  if (!connection?.streamOf(signed)) return false;
  connection.send({ type: "whisper", name: signed, whisper: name, data });
  return true;
}

function whisperNothing() {
  if (!isWarned) console.warn(`${EVENT_TAG}: an event stream cannot whisper`);
  isWarned = true;
  return false;
}

/**
 * Tell the sources of the stream; Turbo calls this for each element with the action.
 *
 * @this {Element}
 */
function hear() {
  const stream = CSS.escape(this.getAttribute("stream") ?? "");
  /** @type {Whispered} */
  const detail = {
    name: this.getAttribute("name") ?? "",
    data: JSON.parse(this.getAttribute("data") ?? "null"),
    user: this.getAttribute("user"),
  };
  for (const source of document.querySelectorAll(`[stream-id="${stream}"]`)) {
    const options = { bubbles: true, detail };
    source.dispatchEvent(new CustomEvent("turbo-stream:whisper", options));
  }
}

/** @type {(tag: string, method: (this: Element, name: string) => boolean) => void} */
function add(tag, method) {
  customElements.whenDefined(tag).then((element) => {
    element.prototype.whisper = method;
  });
}

if (globalThis.customElements) {
  add(TAG, whisper);
  add(EVENT_TAG, whisperNothing);
  customElements.whenDefined("turbo-stream").then(() => {
    /** @type {any} */ (window).Turbo.StreamActions.whisper = hear;
  });
}
