// Refreshes of the page, after lost messages and when a stream asks for one.
//
// Turbo would show whatever the server answers, and cancel visits and forms in progress.
// Nobody at the page has asked for this, so the page is fetched here first. An error is
// never shown, a log-in page or a reload not while the page is in use. Then a bar says
// that the page has changed.

// Django finds imports by the semicolon when it hashes the names of files.
import { TAG } from "./connection.js";
import { Merge } from "./merge.js";
import { distance } from "./socket.js";

/**
 * @import { Source } from "./connection.js"
 * @import { Turbo } from "./rendering.js"
 * @import { Timer } from "./socket.js"
 *
 * @typedef {{ rounds: number, at: number }} History
 * @typedef {{ method?: string | null, scroll?: string | null }} Wish how to refresh
 */

const HISTORY = "turbo-channels-refreshes";
const BAR = "turbo-channels-changed";
const STYLE = // which any rule of the page overrides
  `:where(.${BAR}) { position: fixed; inset: auto 0 0; padding: 0.5em; ` +
  "text-align: center; background: Canvas; color: CanvasText; border-top: solid 1px } " +
  // What it covers can be scrolled away from it.
  `:where(html:has(.${BAR})) { padding-bottom: 3em; scroll-padding-bottom: 3em }`;
const ROUNDS = 5; // refreshes that may fail to help, …
const CALM = 60_000; // … each within so many ms of the one before
const PAUSE = 1_000; // ms before the first, at most
const DEBOUNCE = 150; // ms before one that a stream asks for, as in Turbo

/** @type {(name: string, detail?: object, cancelable?: boolean) => boolean} */
export const tell = (name, detail, cancelable) =>
  document.dispatchEvent(new CustomEvent(name, { bubbles: true, cancelable, detail }));

export class Refresher {
  #turbo;
  /** @type {Set<Source>} those that have lost messages */
  #sources = new Set();
  /** @type {Wish | null} what a stream has asked for */
  #wish = null;
  /** @type {{ visit?: { state: string }, wish?: Wish | null }} the last refresh */
  #last = {};
  /** @type {Timer} */
  #timer;
  #isRunning = false;
  /** @type {Set<string>} what is going on: a press, a drag */
  #held = new Set();
  #answers = 0; // of forms, still loading
  #failures = 0;
  /** @type {History} */
  #history = { rounds: 0, at: 0 };
  /** @type {Merge | undefined} */
  #merge;

  /** @param {Promise<Turbo>} turbo */
  constructor(turbo) {
    this.#turbo = turbo;
    turbo.then((Turbo) => this.#start(Turbo));
  }

  /** @param {Source} source */
  request(source) {
    this.#sources.add(source);
    this.#turbo.then((Turbo) => this.#schedule(Turbo));
  }

  /**
   * The element was removed, or has a new position from the server.
   *
   * @param {Source} source
   */
  release(source) {
    this.#sources.delete(source);
  }

  // All sources are connected, so the refreshes have helped. Start counting anew.
  settled() {
    if (this.#sources.size > 0 || this.#rounds === 0) return;
    this.#rounds = 0;
    tell("turbo-channels:healed");
  }

  /** @param {Turbo} Turbo */
  #start(Turbo) {
    const merge = new Merge(Turbo, () => showBar(Turbo));
    this.#merge = merge;
    /** @type {(names: string, act: (event: any) => void) => void} */
    const on = (names, act) =>
      names.split(" ").forEach((name) => addEventListener(name, act, true));
    on("turbo:submit-end", ({ detail }) => this.#awaitAnswer(detail));
    on("turbo:render", () => {
      if (merge.isRefresh) return;
      this.#wish = null;
      hideBar();
    });
    on("close", () => {
      const bar = document.querySelector(`dialog .${BAR}`);
      if (bar) document.body.append(bar); // where it can be seen
    });
    on("pointerdown", () => this.#held.add("press"));
    on("pointerup pointercancel", () => this.#held.delete("press"));
    // A dragged element that was removed never tells of its end.
    on("pointermove", ({ buttons }) => buttons || this.#held.clear());
    on("dragstart", () => this.#held.add("drag"));
    on("dragend drop", () => this.#held.delete("drag"));
    /** @param {(name: string) => string | null} attribute */
    const refresh = (attribute) => {
      if (Turbo.session.recentRequests.has(attribute("request-id"))) return;
      this.#wish = { method: attribute("method"), scroll: attribute("scroll") };
      this.#schedule(Turbo);
    };
    /** @this {Element} */
    Turbo.StreamActions.refresh = function () {
      refresh((name) => this.getAttribute(name));
    };
  }

  get #rounds() {
    const { rounds, at } = recall() ?? this.#history;
    return distance(at) < CALM ? rounds : 0;
  }

  set #rounds(rounds) {
    this.#history = { rounds, at: Date.now() };
    remember(this.#history);
  }

  get #isWanted() {
    return this.#wish !== null || this.#sources.size > 0;
  }

  get #isHopeless() {
    return this.#sources.size > 0 && this.#rounds >= ROUNDS;
  }

  /**
   * After a loss, refresh after a random time, because all pages do so at the same time
   * if the server has lost its log. Wait longer each time, because the page may come from
   * a cache and have lost the same messages again.
   *
   * @param {Turbo} Turbo
   */
  #schedule(Turbo) {
    if (this.#timer !== undefined || this.#isRunning || !this.#isWanted) return;
    if (this.#isHopeless) return this.#later(Turbo, 0);
    const tries = Math.min(this.#failures + (this.#sources.size && this.#rounds), 5);
    const isCalm = tries === 0 && this.#wish;
    const delay = PAUSE * (Math.random() + (tries && 2 ** tries));
    this.#later(Turbo, isCalm ? DEBOUNCE : delay);
  }

  /** @type {(Turbo: Turbo, delay: number) => void} */
  #later(Turbo, delay) {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#run(Turbo);
    }, delay);
  }

  /** @param {Turbo} Turbo */
  async #run(Turbo) {
    if (this.#isBusy(Turbo)) return this.#later(Turbo, PAUSE / 4);
    // Turbo cancels a visit, and so a refresh, when somebody sends a form.
    const { visit, wish } = this.#last;
    if (visit?.state !== "canceled" && this.#wish === wish) this.#wish = null;
    this.#last = {};
    if (!this.#isWanted) return;
    // By now the page shows what the last refresh has brought.
    if (this.#isHopeless) return this.#giveUp(Turbo, "refreshes do not help");
    this.#isRunning = true;
    try {
      await this.#refresh(Turbo, location.href);
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      console.warn(`${TAG}: the page could not be refreshed`, error);
    } finally {
      this.#isRunning = false;
      this.#schedule(Turbo);
    }
  }

  /** @type {(Turbo: Turbo, url: string) => Promise<void>} */
  async #refresh(Turbo, url) {
    const wish = this.#wish;
    const { ok, status, redirected, url: end, html } = await fetchPage(Turbo, url);
    const isMoved = redirected && withoutHash(end) !== withoutHash(url);
    if (status >= 500 || status === 429) throw new Error(`status ${status}`);
    if (location.href !== url || this.#isBusy(Turbo) || !this.#isWanted) return;
    const isLost = this.#sources.size > 0;
    if (isLost) this.#rounds += 1;
    const isInUse = this.#merge?.isInUse();
    if (!ok) return this.#giveUp(Turbo, `status ${status}`, wish);
    if (isInUse && (isMoved || reloads(Turbo, html)))
      return this.#giveUp(Turbo, "it is in use, and would be replaced", wish);
    hideBar();
    /** @param {Event} event */
    const check = ({ defaultPrevented }) =>
      defaultPrevented && this.#giveUp(Turbo, "the visit was cancelled", wish);
    /** @type {any} */
    let visit; // which may be cancelled as soon as it has begun
    const note = () => (visit = Turbo.navigator.currentVisit);
    addEventListener("turbo:before-visit", check, { once: true });
    addEventListener("turbo:visit", note, true);
    if (isMoved) Turbo.visit(end, { action: "replace" });
    else {
      const isCareful = isLost || isInUse;
      Turbo.visit(url, {
        action: "replace",
        shouldCacheSnapshot: false,
        response: { statusCode: status, responseHTML: html, redirected: false },
        refresh: isCareful ? { method: "morph", scroll: "preserve" } : wish,
      });
    }
    removeEventListener("turbo:before-visit", check);
    removeEventListener("turbo:visit", note, true);
    this.#last = { visit, wish };
  }

  /**
   * Leave the page as it is, until it loses something again, or a stream asks again.
   *
   * @type {(Turbo: Turbo, reason: string, wish?: Wish | null) => void}
   */
  #giveUp(Turbo, reason, wish = this.#wish) {
    this.#sources.clear();
    if (this.#wish === wish) this.#wish = null;
    console.warn(`${TAG}: ${reason}, the page may be out of date`);
    tell("turbo-channels:gave-up", { reason });
    showBar(Turbo);
  }

  /**
   * For Turbo a form submission ends with the headers of the answer, but the page
   * changes after its body.
   *
   * @param {{ fetchResponse?: { responseHTML: Promise<unknown> } }} detail
   */
  async #awaitAnswer({ fetchResponse }) {
    this.#answers += 1;
    try {
      await fetchResponse?.responseHTML;
    } catch {
      // Turbo reports the error.
    } finally {
      setTimeout(() => (this.#answers -= 1)); // by then Turbo has begun to show it
    }
  }

  /** @param {Turbo} Turbo */
  #isBusy({ navigator }) {
    if (this.#held.size || this.#answers || this.#merge?.isRendering) return true;
    if (navigator.currentVisit || navigator.view.renderPromise) return true;
    return document.querySelector("form[aria-busy=true]") !== null;
  }
}

/**
 * Fetch the page as Turbo does, but show nothing.
 *
 * @type {(Turbo: Turbo, url: string) => Promise<Response & { html: string }>}
 */
async function fetchPage({ fetch }, url) {
  const headers = { Accept: "text/html, application/xhtml+xml" };
  /** @type {any} */
  const detail = { fetchOptions: { headers, cache: "reload" }, url: new URL(url) };
  await new Promise((resume) => {
    detail.resume = resume;
    const options = { bubbles: true, cancelable: true, detail };
    const event = new CustomEvent("turbo:before-fetch-request", options);
    if (document.documentElement.dispatchEvent(event)) resume(null);
  });
  const response = await fetch(detail.url, detail.fetchOptions);
  return Object.assign(response, { html: await response.text() });
}

/** @param {string} url */
const withoutHash = (url) => url.split("#")[0];

/**
 * Return whether Turbo would load the page anew, because its scripts have changed.
 *
 * @type {(Turbo: Turbo, html: string) => boolean}
 */
function reloads({ PageSnapshot, navigator }, html) {
  const { isVisitable, headSnapshot } = PageSnapshot.fromHTMLString(html);
  const { trackedElementSignature } = navigator.view.snapshot.headSnapshot;
  return (
    !isVisitable || headSnapshot.trackedElementSignature !== trackedElementSignature
  );
}

// --- The bar that says that the page has changed

let isStyled = false;

// No Content-Security-Policy refuses it.
function styleSheet() {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  return sheet;
}

/** @param {Turbo} Turbo */
function showBar(Turbo) {
  const template = /** @type {any} */ (document.getElementById(BAR));
  if (!template || document.querySelector(`.${BAR}`)) return;
  if (!isStyled) document.adoptedStyleSheets.push(styleSheet());
  isStyled = true;
  const bar = document.createElement("div");
  bar.className = BAR;
  bar.setAttribute("role", "status");
  bar.onclick = ({ target }) => {
    if (!(/** @type {Element} */ (target).closest("button"))) return;
    hideBar();
    Turbo.visit(location.href, { action: "replace" });
  };
  // Outside of a modal dialog nobody could reach it.
  (document.querySelector(":modal") ?? document.body).append(bar);
  // A screen reader announces what comes into a status that is there already.
  setTimeout(() => bar.append(template.content.cloneNode(true)), 100);
}

function hideBar() {
  document.querySelector(`.${BAR}`)?.remove();
}

/**
 * The history survives page loads, because Turbo refreshes some pages by loading them.
 *
 * @returns {History | null}
 */
function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(HISTORY) ?? "null");
  } catch {
    return null;
  }
}

/** @param {History} history */
function remember(history) {
  try {
    sessionStorage.setItem(HISTORY, JSON.stringify(history));
  } catch {
    // The browser may be set to store nothing.
  }
}
