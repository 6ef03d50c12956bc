// A refresh: what the server sends is merged with what was done on the page.
//
// Turbo morphs the page into the new one. Here a third version is known, what the
// server has sent before. What it has not changed since stays as it is on the page: a
// dialog that was opened, text that was formatted, a widget that a script has built.
// Input is kept where the new page has the same record, and reported as lost otherwise.

// Django finds imports by the semicolon when it hashes the names of files.
import { Edits } from "./edits.js";
import {
  copyState,
  enter,
  fieldsOf,
  fieldsWith,
  formOf,
  grouped,
  isTyped,
  matches,
  read,
  reset,
  save,
  stateOf,
} from "./fields.js";

/**
 * @import { Field, Match } from "./fields.js"
 * @import { Turbo } from "./rendering.js"
 *
 * @typedef {(old: Element, fresh: Element) => any} Render
 *
 * @typedef {object} Morph one that is going on
 * @property {Map<Field, Match>} typed
 * @property {Field[]} chosen radio buttons
 * @property {Set<Element>} whole elements that are left as they are
 * @property {Set<Node>} away those that the page has moved elsewhere, and the server has not
 * @property {Ties} ties
 * @property {Element[]} kept elements that were left as they are
 * @property {[Element, string[]?][]} followed those whose edited children follow the
 *   server, and the order that it has sent where the page keeps its own
 */

const OPEN = ":modal, :popover-open";
const MANY = 100; // edited elements without an id that are looked for in the new page

export class Merge {
  #turbo;
  #edits = new Edits();
  /** @type {string | null} the form that the server has answered with errors */
  #invalid = null;
  /** @type {WeakMap<Element, Map<Field, any>>} what is on its way, by form */
  #sent = new WeakMap();
  /** @type {WeakSet<Element>} frames that load again because of a refresh */
  #reloading = new WeakSet();
  /** @type {Morph | null} */
  #current = null;
  /** @type {() => void} */
  #conflicted;

  /**
   * @param {Turbo} turbo
   * @param {() => void} conflicted called if something was left as it is: a form, because
   *   the server has another record in its place, or a frame that could not be loaded
   */
  constructor(turbo, conflicted) {
    this.#turbo = turbo;
    this.#conflicted = conflicted;
    /** @type {(name: string, act: (event: any) => void) => void} */
    const on = (name, act) => addEventListener(name, act, true);
    on("turbo:before-morph-element", (event) => this.#morph(event));
    on("turbo:before-stream-render", ({ detail }) => this.#serve(detail));
    on("turbo:before-frame-render", ({ detail, target }) =>
      this.#serve(detail, { isMerge: () => this.#reloading.delete(target) }),
    );
    on("turbo:frame-missing", (event) => {
      if (!this.#reloading.delete(event.target)) return;
      event.preventDefault(); // an error, or a log-in page
      conflicted();
    });
    on("turbo:before-render", ({ detail }) => {
      const isMerge = () => detail.renderMethod === "morph" && this.isRefresh;
      this.#serve(detail, { isMerge, isPage: true });
    });
    on("turbo:visit", () => this.isRefresh || (this.#invalid = null));
    on("turbo:submit-start", ({ target }) =>
      this.#sent.set(target, this.#read(target)),
    );
    on("turbo:submit-end", ({ detail: { success, formSubmission }, target }) => {
      if (!success) this.#invalid = keyOf(target);
      else if (!formSubmission.isSafe)
        // not a search
        this.#saved(target, this.#sent.get(target));
    });
    on("turbo-channels:saved", ({ target }) => this.#saved(target));
    on("input", ({ target }) => {
      enter(target);
      // A component has its fields inside.
      if (target.localName?.includes("-")) this.#edits.editables.add(target);
    });
    on("reset", ({ target }) => fieldsWith(target).forEach(reset));
  }

  get isRefresh() {
    return "method" in (this.#turbo.navigator?.currentVisit?.refresh ?? {});
  }

  /**
   * Return whether somebody is in the middle of something.
   *
   * @param {Element} element
   */
  isInUse(element = document.body) {
    this.#edits.flush();
    const active = document.activeElement;
    const isFocused = element !== document.body && element.contains(active);
    return (
      element.querySelector(OPEN) !== null ||
      (isFocused && isEditable(active)) ||
      this.#typed(element).length > 0
    );
  }

  // Whether an animation of an element is not done yet.
  get isRendering() {
    return this.#edits.isServing;
  }

  // --- What was saved

  /**
   * Return what is filled in now.
   *
   * @param {Element} element
   */
  #read(element) {
    const fields = [...fieldsWith(element), ...this.#edits.editables];
    return new Map(fields.map((field) => [field, read(field)]));
  }

  /** @type {(element: Element, sent?: Map<Field, any>) => void} */
  #saved(element, sent = this.#read(element)) {
    for (const [field, then] of sent) save(field, then);
    this.#edits.forget(
      element,
      (field) => sent.has(field) && sent.get(field).state !== stateOf(field),
    );
    this.#invalid = null;
  }

  /** @param {Element} element */
  #isInvalid(element) {
    return this.#invalid !== null && keyOf(element) === this.#invalid;
  }

  /**
   * @param {Element} root
   * @returns {Field[]}
   */
  #typed(root) {
    const fields = fieldsOf(root).filter(
      (field) =>
        isTyped(field, this.#edits) ||
        (field.type !== "hidden" && field.form && this.#isInvalid(field.form)),
    );
    return fields.concat(
      [...this.#edits.editables].filter((one) => root.contains(one)),
    );
  }

  // --- Rendering

  /**
   * Take whatever renders `detail`, also what a listener will put there, for the server.
   *
   * @type {(detail: { render: any, newStream?: any }, options?: { isMerge?: () => boolean, isPage?: boolean }) => void}
   */
  #serve(detail, { isMerge = () => false, isPage = false } = {}) {
    const stream = detail.newStream;
    let { render } = detail;
    /** @param {any} given */
    const served =
      (given) =>
      (/** @type {Element[]} */ ...args) => {
        const isNew = this.#current === null && isMerge();
        const show = () => (isNew ? this.#merge(args, given) : given(...args));
        const targets = stream?.matches("[target], [targets]") && stream.targetElements;
        return this.#edits.serve(show, isPage, targets || undefined);
      };
    Object.defineProperty(detail, "render", {
      get: () => served(render),
      set(given) {
        render = given;
      },
    });
  }

  /** @type {(pages: Element[], render: Render) => void} */
  #merge([page, newPage], render) {
    const morph = this.#begin(page, newPage);
    this.#current = morph;
    try {
      render(page, newPage);
    } finally {
      this.#current = null;
      this.#end(morph);
    }
  }

  /** @type {(page: Element, newPage: Element) => Morph} */
  #begin(page, newPage) {
    const edits = this.#edits;
    const ties = new Ties();
    // By the id that a script has given it, nothing would be found in the new page.
    for (const one of page.querySelectorAll("[id]"))
      if (edits.attributes(one).has("id")) ties.rename(one, edits.attribute(one, "id"));
    const forms = [...page.querySelectorAll("form")];
    const whole = new Set(forms.filter((form) => this.#isInvalid(form)));
    const typed = matches(this.#typed(page), page, newPage, edits);
    const nodes = [page, newPage].map((root) => [...root.querySelectorAll("*")]);
    const [old, now] = nodes.map((all) => grouped(all, ({ localName }) => localName));
    const changed = nodes[0].filter(
      (one) =>
        !idOf(one) &&
        (edits.attributes(one).size > 0 ||
          (edits.hasChildren(one) &&
            (one.firstElementChild || edits.moved(one).length))),
    );
    for (const one of changed.slice(0, MANY))
      this.#tie(ties, one, old.get(one.localName) ?? [], now.get(one.localName) ?? []);
    /** @type {Set<Node>} */
    const away = new Set();
    for (const parent of edits.parents) {
      const moved = edits.moved(parent);
      const fresh = newPage.querySelector(`[id="${CSS.escape(idOf(parent) ?? "")}"]`);
      if (!moved.length || !fresh || !edits.isUnchanged(parent, fresh)) continue;
      ties.tie(parent, fresh);
      whole.add(parent);
      fresh.replaceChildren(); // what was moved is looked for nowhere
      for (const node of moved) {
        away.add(node);
        ties.tie(node);
      }
    }
    for (const [field, { fresh, isOther }] of typed) {
      const { form } = field;
      if (isOther) whole.add(form);
      if (!whole.has(form) && (fresh || !field.isContentEditable))
        ties.tie(field, fresh);
      else if (fresh) ties.tie(form, formOf(fresh));
    }
    for (const form of whole) ties.tie(form);
    // What is in use goes on in the same record, or nowhere.
    /** @type {Field[]} */
    const used = [...page.querySelectorAll(`${OPEN}, details[open]`)];
    const isInside = (/** @type {any} */ one) => one !== page && page.contains(one);
    used.push(...[document.activeElement].filter(isInside));
    for (const [one, { fresh, isOther }] of matches(used, page, newPage, edits))
      if (fresh || one.localName !== "details")
        ties.tie(one, isOther ? undefined : fresh);
    for (const node of edits.own)
      if (node instanceof Element && !idOf(node)) ties.tie(node);
    for (const frame of page.querySelectorAll("turbo-frame[src][refresh=morph]"))
      this.#reloading.add(frame);
    const chosen = [...typed.keys()].filter(
      ({ type, checked }) => type === "radio" && checked,
    );
    return { typed, chosen, whole, away, ties, kept: [], followed: [] };
  }

  /** @param {Morph} morph */
  #end({ typed, chosen, ties, kept, followed }) {
    for (const [parent, order] of followed) this.#edits.follow(parent, order);
    for (const [field, { fresh }] of typed) {
      if (kept.some((element) => element.contains(field))) continue;
      const now = fresh && ties.now(field);
      if (now && now !== field) copyState(now, field);
      // One without a match may be in a frame that loads by itself.
      if (!now && (field.isContentEditable || !field.isConnected)) report(field);
    }
    // Another one that the server has chosen has taken the mark away.
    for (const field of chosen) Object.assign(ties.now(field) ?? {}, { checked: true });
    ties.undo();
    if ([...typed.values()].some(({ isOther }) => isOther)) this.#conflicted();
  }

  /**
   * Find an edited element without an id in the new page.
   *
   * @type {(ties: Ties, element: Element, old: Element[], now: Element[]) => void}
   */
  #tie(ties, element, old, now) {
    const edits = this.#edits;
    const there = now[old.indexOf(element)];
    // Turbo finds it there, too, and is slower with an id.
    if (!edits.hasChildren(element) && there && edits.isUnchanged(element, there))
      return;
    const text = edits.text(element);
    const alike = now.filter(
      (one) =>
        one.textContent === text && !idOf(one) && edits.isUnchanged(element, one),
    );
    if (alike.length === 1) ties.tie(element, alike[0]);
  }

  /** @param {any} event */
  #morph(event) {
    const { target, detail } = event;
    if (!this.#current || !this.#isKept(target, detail.newElement, this.#current))
      return;
    this.#current.kept.push(target);
    event.preventDefault();
  }

  /**
   * Return whether to leave an element as it is. Otherwise what was edited in it, and the
   * server has not changed, is put into the new one.
   *
   * @type {(element: any, fresh: any, morph: Morph) => boolean}
   */
  #isKept(element, fresh, { typed, whole, away, followed }) {
    const edits = this.#edits;
    if (!fresh)
      return (
        edits.own.has(element) ||
        away.has(element) ||
        (edits.later.has(element) && this.isInUse(element))
      );
    if (whole.has(element)) return true;
    if (element.localName === "turbo-frame") return this.#isFrameKept(element, fresh);
    edits.own.delete(element);
    for (const [name, served] of edits.attributes(element))
      if (served === fresh.getAttribute(name)) copyAttribute(fresh, element, name);
    if (typed.get(element)?.fresh === fresh) return copyAttributes(element, fresh);
    if (!edits.hasChildren(element)) return false;
    const isWritten = [...edits.editables].some((one) => one.contains(element));
    if (isWritten || edits.isReplaced(element) || edits.isUnchanged(element, fresh))
      return true;
    const order = edits.isMoved(element) ? reorder(fresh, element) : undefined;
    followed.push([element, order]);
    return false;
  }

  /**
   * Keep a frame that has loaded what the new page does not have, unless the new page has
   * something else for it and nobody is using it.
   *
   * @type {(frame: any, fresh: any) => boolean}
   */
  #isFrameKept(frame, fresh) {
    const isEmpty = !fresh.firstElementChild || fresh.hasAttribute("src");
    const src = this.#edits.attribute(frame, "src");
    if (isEmpty && frame.hasAttribute("src") && frame.firstElementChild)
      return urlOf(src) === urlOf(fresh.getAttribute("src")) || this.isInUse(frame);
    /** @param {Field} field */
    const isLacking = ({ name }) =>
      !fresh.querySelector(`[name="${CSS.escape(name)}"]`);
    return fieldsOf(frame).some(isLacking) && this.isInUse(frame);
  }
}

// Gives elements of the page and of the new page the same id, while one is morphed into
// the other: so they find each other, and nothing else finds them.
class Ties {
  /** @type {Map<Element, string>} */
  #keys = new Map();
  /** @type {Map<string, string | null>} key → the id in the new page */
  #ids = new Map();
  /** @type {Map<Element, (string | null)[]>} their ids of the server and of the page */
  #renamed = new Map();

  /** @type {(old: Element, fresh?: Element) => void} */
  tie(old, fresh) {
    if (this.#keys.has(old)) return;
    const key = `turbo-channels-${this.#keys.size}`;
    this.#keys.set(old, key);
    this.#ids.set(key, idOf(fresh ?? old));
    old.id = key;
    if (fresh) fresh.id = key;
  }

  /** @type {(old: Element, id: string | null) => void} */
  rename(old, id) {
    this.#renamed.set(old, [id, idOf(old)]);
    setAttribute(old, "id", id);
  }

  /** @param {Element} old */
  now(old) {
    return document.getElementById(this.#keys.get(old) ?? "");
  }

  undo() {
    for (const [key, id] of this.#ids) {
      const element = document.getElementById(key);
      if (element) setAttribute(element, "id", id);
    }
    for (const [element, [served, id]] of this.#renamed)
      if (idOf(element) === served) setAttribute(element, "id", id);
  }
}

/**
 * Bring the children of `fresh` into the order that the page has given them, and return
 * the one that they had.
 *
 * @type {(fresh: Element, element: Element) => string[]}
 */
function reorder(fresh, element) {
  const places = new Map(
    [...element.children].map((child, place) => [idOf(child), place]),
  );
  /** @param {Element} child */
  const placeOf = (child) => places.get(idOf(child)) ?? Infinity;
  const children = [...fresh.children];
  fresh.append(
    ...children.toSorted((one, other) => placeOf(one) - placeOf(other) || 0),
  );
  return children.map((child) => idOf(child) ?? "");
}

/** @type {(element: Element, from: Element, name: string) => void} */
const copyAttribute = (element, from, name) =>
  setAttribute(element, name, from.getAttribute(name));

/** @type {(element: Element, name: string, value: string | null) => void} */
function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/**
 * @type {(field: Field, fresh: Field) => true}
 */
function copyAttributes(field, fresh) {
  const names = [...field.getAttributeNames(), ...fresh.getAttributeNames()];
  for (const name of names)
    if (name !== "value" || field.type !== "hidden") copyAttribute(field, fresh, name);
  return true;
}

/**
 * Tell the page that input has no place in it any more.
 *
 * @param {Field} field
 */
function report(field) {
  const { name, value, isContentEditable, innerHTML } = field;
  const detail = { name, value: isContentEditable ? innerHTML : value, field };
  document.dispatchEvent(new CustomEvent("turbo-channels:input-lost", { detail }));
}

// A form's property may be shadowed by its field of that name.
/** @param {Element} element */
const idOf = (element) => element.getAttribute("id");

// Turbo makes it absolute, maybe before it can be seen.
/** @param {string | null} src */
const urlOf = (src) => src && new URL(src, document.baseURI).href;

/** @param {any} form */
const keyOf = (form) => `${idOf(form)} ${form.getAttribute("action")}`;

/** @param {any} element */
const isEditable = (element) =>
  element.isContentEditable || element.matches("input, textarea, select");
