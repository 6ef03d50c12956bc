// Refreshes of the page after lost messages.

// Django finds imports by the semicolon when it hashes the names of files.
import { TAG } from "./connection.js";
import { distance } from "./socket.js";

/**
 * @import { Source } from "./connection.js"
 * @import { Turbo } from "./rendering.js"
 * @import { Timer } from "./socket.js"
 */

const HISTORY = "turbo-channels-refreshes";
const ROUNDS = 5; // refreshes that may fail to help, …
const CALM = 60_000; // … each within so many ms of the one before
const PAUSE = 1_000; // ms before the first, at most

/** @typedef {{ rounds: number, at: number }} History */

// Fetches the page and lets Turbo morph it, once for all streams that have lost
// messages.
//
// It waits for visits and forms in progress, which Turbo would cancel otherwise.
export class Refresher {
  #turbo;
  /** @type {Set<Source>} */
  #sources = new Set();
  /** @type {Timer} */
  #timer;
  #isRunning = false;
  #answers = 0; // of forms, still loading
  #failures = 0;
  /** @type {History} */
  #history = { rounds: 0, at: 0 };

  /** @param {Promise<Turbo>} turbo */
  constructor(turbo) {
    this.#turbo = turbo;
    const finish = (/** @type {any} */ { detail }) => this.#awaitAnswer(detail);
    turbo.then(() => addEventListener("turbo:submit-end", finish));
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
    if (this.#sources.size === 0 && this.#rounds > 0) this.#rounds = 0;
  }

  get #rounds() {
    const { rounds, at } = recall() ?? this.#history;
    return distance(at) < CALM ? rounds : 0;
  }

  set #rounds(rounds) {
    this.#history = { rounds, at: Date.now() };
    remember(this.#history);
  }

  /**
   * Refresh after a random time, because all pages do so at the same time if the server
   * has lost its log. Wait longer each time, because the page may come from a cache and
   * have lost the same messages again.
   *
   * @param {Turbo} Turbo
   */
  #schedule(Turbo) {
    if (this.#timer !== undefined || this.#isRunning || this.#sources.size === 0)
      return;
    if (this.#rounds >= ROUNDS) {
      this.#sources.clear();
      return console.warn(`${TAG}: refreshes do not help, the page may be out of date`);
    }
    const failed = Math.min(this.#rounds + this.#failures, 5);
    this.#later(Turbo, PAUSE * (Math.random() + (failed && 2 ** failed)));
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
    if (this.#sources.size === 0) return;
    if (this.#isBusy(Turbo)) return this.#later(Turbo, PAUSE / 4);
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

  /**
   * Fetch the page here, because Turbo would show any response, and would reload the
   * page if there is none.
   *
   * @param {Turbo} Turbo
   * @param {string} url
   */
  async #refresh(Turbo, url) {
    const headers = { Accept: "text/html, application/xhtml+xml" };
    const response = await (Turbo.fetch ?? fetch)(url, { headers, cache: "reload" });
    const { ok, status, redirected } = response;
    const responseHTML = await response.text();
    if (status >= 500) throw new Error(`status ${status}`);
    if (location.href !== url || this.#isBusy(Turbo) || this.#sources.size === 0)
      return;
    this.#rounds += 1;
    if (redirected) return Turbo.visit(response.url, { action: "replace" });
    if (ok) morph(Turbo, url, { statusCode: status, responseHTML, redirected });
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
    if (this.#answers || navigator?.currentVisit || navigator?.view?.renderPromise)
      return true;
    const busy = "html[aria-busy=true], form[aria-busy=true]";
    return document.querySelector(busy) !== null;
  }
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

/** @type {(Turbo: Turbo, url: string, response: object) => void} */
function morph(Turbo, url, response) {
  const refresh = { method: "morph", scroll: "preserve" };
  Turbo.visit(url, {
    action: "replace",
    shouldCacheSnapshot: false,
    response,
    refresh,
  });
}
