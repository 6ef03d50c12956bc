// Text that grows, and progress: the elements of {% turbo_text %} and {% turbo_progress %}.
//
//   <div id="answer-7" data-turbo-text="<stream id>" data-run="17" data-at="120"
//     data-state="writing" aria-live="polite" aria-busy="true">…</div>
//
//   ← <turbo-stream action="grow" target="answer-7" run="17" at="120">
//       <template>what comes behind the first 120 characters</template></turbo-stream>
//   → {"type":"text","name":"<signed>","id":"answer-7","run":17,"at":120}
//
// Where a text is stands in its attributes, in code points as the server counts them, so
// they survive caches, morphs and frames. A run is one writing of the text; later ones
// have larger numbers. What is behind a hole is kept until the server has sent what
// belongs before it.

/**
 * @typedef {object} Known what is known of an element besides its attributes
 * @property {number} heard when the server last said something about it
 * @property {number} asked when it was asked for, or 0 if there is an answer
 * @property {number} tries questions without an answer
 * @property {boolean} isDue whether to ask once more after the first answer
 * @property {Map<number, string>} pieces those behind a hole, by their places
 *
 * @typedef {{ run: number, at: number, state: string | null, content: DocumentFragment }} Part
 */

const STARTED = Symbol.for("turbo-channels-text");
const TEXT = "data-turbo-text";
const PROGRESS = "data-turbo-progress";
const GROWING = `[${TEXT}], [${PROGRESS}]`;
const TICK = 1_000; // ms between two looks at what has been silent
const AGAIN = 2_000; // ms after the first answer: a process that has just begun to show a
// stream gets its messages a moment later
const SILENCE = 35_000; // ms: a writer says every 10 s that it is there, for 30 s
const PATIENCE = 5_000; // ms for an answer, and twice as long each time
const REFRESH = 5_000; // ms between two refreshes of a page that cannot ask
const PIECES = 1_000; // behind one hole
const STYLE = // what only screen readers need; any rule of the page overrides it
  `:where([${PROGRESS}] [role=status]) { position: absolute; inline-size: 1px; ` +
  "block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }";
const SOURCES = "turbo-channels-stream-source[signed-stream-name]";
const EVENTS = "turbo-stream-source";

/** @type {WeakMap<Element, Known>} */
const known = new WeakMap();
let refreshedAt = -Infinity;
let hasWarned = false;

const client = () => /** @type {any} */ (window).TurboChannels;

/** @param {Element} element */
function knownOf(element) {
  let found = known.get(element);
  if (!found) {
    const now = performance.now();
    found = { heard: now, asked: 0, tries: 0, isDue: false, pieces: new Map() };
    known.set(element, found);
  }
  return found;
}

/** @type {(element: Element, name: string) => number} */
const numberOf = (element, name) => Number(element.getAttribute(name) ?? 0);

/** @param {Element} element */
const stateOf = (element) => element.getAttribute("data-state");

// --- Asking

/**
 * Return the signed name of the stream, while the server sends its messages.
 *
 * @param {string | null} stream
 */
function nameOf(stream) {
  const names = [...document.querySelectorAll(SOURCES)].map(
    (source) => source.getAttribute("signed-stream-name") ?? "",
  );
  return names.find((name) => client()?.streamOf(name) === stream);
}

/** @param {Element} element */
const streamOf = (element) =>
  element.getAttribute(TEXT) ?? element.getAttribute(PROGRESS);

/** @param {Element} element */
function ask(element) {
  const name = nameOf(streamOf(element));
  if (!name) return;
  const found = knownOf(element);
  found.asked = performance.now();
  found.tries += 1;
  const [run, at] = ["data-run", "data-at"].map((key) => numberOf(element, key));
  client().send({ type: "text", name, id: element.id, run, at });
}

/**
 * Get what is lacking. A page on an event stream cannot ask: it refreshes itself.
 *
 * @param {Element} element
 */
function repair(element) {
  const found = knownOf(element);
  if (found.asked) return;
  if (nameOf(streamOf(element))) return ask(element);
  if (!document.querySelector(EVENTS)) return;
  const now = performance.now();
  found.isDue = now - refreshedAt < REFRESH;
  if (found.isDue) return;
  refreshedAt = now;
  const refresh = '<turbo-stream action="refresh"></turbo-stream>';
  /** @type {any} */ (window).Turbo.renderStreamMessage(refresh);
}

/** @param {Element} element */
const isOpen = (element) => stateOf(element) !== "finished";

// An element that appears asks once what it lacks; what is finished lacks nothing.
function look() {
  for (const element of document.querySelectorAll(GROWING)) {
    if (known.has(element)) drain(element);
    else if (isOpen(element) && nameOf(streamOf(element))) begin(element);
  }
}

/** @param {Element} element */
function begin(element) {
  Object.assign(knownOf(element), { tries: 0, isDue: true });
  ask(element);
}

/** @param {Event} event */
function connected({ target }) {
  const name = /** @type {Element} */ (target).getAttribute("signed-stream-name");
  const stream = client()?.streamOf(name);
  for (const element of document.querySelectorAll(GROWING))
    if (streamOf(element) === stream && isOpen(element)) begin(element);
}

// Ask again where there was no answer, or nothing was heard for so long that the writer
// may be gone, or its last part was lost.
function tick() {
  const now = performance.now();
  for (const element of document.querySelectorAll(GROWING)) {
    const found = known.get(element);
    if (!found) warn(element);
    if (!found || !isOpen(element)) continue;
    const patience = PATIENCE * 2 ** Math.min(found.tries - 1, 4);
    const silence = found.isDue ? AGAIN : SILENCE;
    const isWriting = stateOf(element) === "writing";
    if (found.asked ? now - found.asked < patience : now - found.heard < silence)
      continue;
    if (!found.asked && !isWriting && !found.isDue) continue;
    Object.assign(found, { asked: 0, isDue: false });
    repair(element);
  }
}

/** @param {Element} element */
function warn(element) {
  const isComing = document.querySelector(`${SOURCES}:not([connected]), ${EVENTS}`);
  if (hasWarned || isComing || document.readyState !== "complete") return;
  hasWarned = true;
  console.warn(
    `turbo_text: #${element.id} does not grow, because the page has no ` +
      "{% turbo_subscribe %} for its stream",
  );
}

// --- Growing

/**
 * @param {any} stream
 * @returns {Part}
 */
const partOf = (stream) => ({
  run: numberOf(stream, "run"),
  at: numberOf(stream, "at"),
  state: stream.getAttribute("state"),
  content: stream.templateContent,
});

/**
 * Take note of what was heard, and return whether it is about what the element shows.
 *
 * @type {(element: Element, part: Part) => boolean}
 */
function hear(element, { run, state }) {
  const found = knownOf(element);
  const shown = numberOf(element, "data-run");
  found.heard = performance.now();
  if (state) Object.assign(found, { asked: 0, tries: 0 });
  if (state === "none") {
    if (stateOf(element) === "writing") setState(element, "silent");
    return false;
  }
  if (run < shown) return false;
  if (run > shown) {
    found.pieces.clear();
    for (const name of ["data-at", "data-ended", "data-state"])
      element.removeAttribute(name);
    element.setAttribute("data-run", String(run));
    if (element.hasAttribute(TEXT)) element.replaceChildren();
  }
  return true;
}

/** @type {(element: Element, state: string | null) => void} */
function setState(element, state) {
  const before = stateOf(element);
  if (before === "finished") return;
  if (!state) {
    // A writer that was silent goes on; what is sent late says nothing about the end.
    if (before === "failed") return repair(element);
    state = "writing";
  }
  // The server may have read an answer before the end.
  if (state === "writing" && element.hasAttribute("data-ended")) return;
  element.toggleAttribute("data-ended", state === "failed" || state === "finished");
  element.setAttribute("data-state", state === "silent" ? "failed" : state);
  if (!element.hasAttribute(TEXT)) return;
  if (state === "writing") element.setAttribute("aria-busy", "true");
  else element.removeAttribute("aria-busy");
}

/** @type {(element: Element, text: string, at: number) => void} */
function append(element, text, at) {
  const last = element.lastChild;
  if (last?.nodeType === Node.TEXT_NODE) /** @type {Text} */ (last).appendData(text);
  else element.append(text);
  element.setAttribute("data-at", String(at));
}

/**
 * Append a part that begins at `place`, without what is known of it.
 *
 * @type {(element: Element, text: string, place: number) => void}
 */
function extend(element, text, place) {
  const at = numberOf(element, "data-at");
  const characters = [...text];
  const end = place + characters.length;
  if (end > at) append(element, characters.slice(at - place).join(""), end);
}

/**
 * Append the pieces that are not behind a hole any more.
 *
 * @param {Element} element
 */
function drain(element) {
  const found = knownOf(element);
  if (!found.pieces.size) return;
  const pieces = [...found.pieces].sort(([one], [other]) => one - other);
  for (const [place, piece] of pieces) {
    if (place > numberOf(element, "data-at")) return;
    extend(element, piece, place);
    found.pieces.delete(place);
  }
  found.isDue = false;
}

/** @type {(element: Element, part: Part, isFinal: boolean) => void} */
function grow(element, part, isFinal) {
  if (!hear(element, part) || stateOf(element) === "finished") return;
  const { at, state, content } = part;
  const { pieces } = knownOf(element);
  if (isFinal) {
    pieces.clear();
    element.replaceChildren(content);
    element.setAttribute("data-at", String(at));
    return setState(element, state);
  }
  const text = content.textContent ?? "";
  if (at > numberOf(element, "data-at")) {
    if (text && pieces.size < PIECES) pieces.set(at, text);
    return repair(element);
  }
  extend(element, text, at);
  drain(element);
  setState(element, state);
  if (pieces.size) repair(element);
}

// --- Progress

/** @type {(element: Element, part: Part, stream: Element) => void} */
function advance(element, part, stream) {
  if (!hear(element, part) || stateOf(element) === "finished") return;
  const isOld = part.at < numberOf(element, "data-at");
  if (!isOld) {
    element.setAttribute("data-at", String(part.at));
    const total = stream.getAttribute("total");
    const bar = element.querySelector("progress");
    const note = element.querySelector("[data-note]");
    if (bar && Number(total) > 0) {
      bar.max = Number(total);
      bar.value = numberOf(stream, "value");
      bar.textContent = `${Math.floor(100 * bar.position)} %`;
    } else bar?.removeAttribute("value");
    if (note) note.textContent = stream.getAttribute("note") ?? "";
  }
  if (!isOld || part.state) setState(element, part.state);
  say(element);
}

/**
 * Tell screen readers of each quarter and of the end, and not of each step.
 *
 * @param {Element} element
 */
function say(element) {
  const status = element.querySelector("[role=status]");
  const bar = element.querySelector("progress");
  if (!status || !bar) return;
  const state = stateOf(element) ?? "";
  const quarter = Math.floor(4 * bar.position); // negative if it is not known
  const end = status.getAttribute(`data-${state}`);
  const text = end ?? (quarter > 0 ? `${25 * quarter} %` : "");
  if (status.textContent !== text) status.textContent = text;
}

// --- What the server renders again

/**
 * Put what the page has of a text into what the server has rendered of it, unless that is
 * newer.
 *
 * @type {(fresh: Element, element?: Element | null) => void}
 */
function keep(fresh, element = document.getElementById(fresh.id)) {
  const attribute = [TEXT, PROGRESS].find((name) => fresh.hasAttribute(name));
  if (!attribute || !element || element === fresh) return;
  if (element.getAttribute(attribute) !== fresh.getAttribute(attribute)) return;
  const [run, freshRun] = [element, fresh].map((one) => numberOf(one, "data-run"));
  const [at, freshAt] = [element, fresh].map((one) => numberOf(one, "data-at"));
  if (run < freshRun || stateOf(fresh) === "finished") return;
  if (run === freshRun && at <= freshAt && isOpen(element)) return;
  fresh.replaceChildren(...[...element.cloneNode(true).childNodes]);
  for (const name of ["run", "at", "state", "ended"].map((one) => `data-${one}`)) {
    const value = element.getAttribute(name);
    if (value === null) fresh.removeAttribute(name);
    else fresh.setAttribute(name, value);
  }
  if (element.hasAttribute("aria-busy")) fresh.setAttribute("aria-busy", "true");
  else fresh.removeAttribute("aria-busy");
}

/** @param {ParentNode | null | undefined} root */
function keepAll(root) {
  for (const fresh of root?.querySelectorAll(GROWING) ?? []) keep(fresh);
}

/** @param {any} Turbo */
function start({ StreamActions }) {
  /** @this {any} */
  StreamActions.grow = function () {
    const part = partOf(this);
    const isFinal = this.getAttribute("kind") === "html";
    for (const element of this.targetElements)
      if (element.matches(GROWING)) grow(element, part, isFinal);
  };
  /** @this {any} */
  StreamActions.progress = function () {
    for (const element of this.targetElements)
      if (element.matches(`[${PROGRESS}]`)) advance(element, partOf(this), this);
  };
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets.push(sheet);
  /** @type {(name: string, act: (detail: any) => void) => void} */
  const on = (name, act) =>
    addEventListener(name, (event) => act(/** @type {CustomEvent} */ (event).detail));
  on("turbo:before-render", ({ newBody }) => keepAll(newBody));
  on("turbo:before-frame-render", ({ newFrame }) => keepAll(newFrame));
  on("turbo:before-stream-render", ({ newStream }) =>
    keepAll(newStream.templateElement?.content),
  );
  document.addEventListener("turbo-stream:connected", connected);
  new MutationObserver(look).observe(document, { childList: true, subtree: true });
  setInterval(tick, TICK);
  look();
}

// A page may load this module from two addresses, and Node has no elements.
if (globalThis.customElements)
  customElements.whenDefined("turbo-stream").then(() => {
    const { Turbo } = /** @type {any} */ (window);
    if (STARTED in Turbo) return;
    Turbo[STARTED] = true;
    start(Turbo);
  });

export {};
