// What the page has changed in the server's HTML by itself: its scripts, and the person
// at it.
//
// The server's changes come with visits, frames, streams and refreshes. All other
// mutations are edits. For each thing that was edited, what the server has sent is
// remembered; so a refresh can tell whether the server has changed it since.

// Django finds imports by the semicolon when it hashes the names of files.
import { TAG } from "./connection.js";

/** @typedef {MutationRecord} Record */

const MANY = 500; // edits before those of removed nodes are forgotten
const PATIENCE = 5_000; // ms for an animation

export class Edits {
  /** @type {Set<Node>} nodes that the page has added */
  own = new Set();
  /** @type {WeakSet<Node>} nodes that came after their page, by a stream or a frame */
  later = new WeakSet();
  /** @type {Set<Element>} editable elements and components with edited text */
  editables = new Set();
  /** @type {WeakMap<Node, Map<string, string | null>>} */
  #attributes = new WeakMap();
  /** @type {Map<any, Node[]>} */
  #children = new Map();
  /** @type {WeakMap<Node, string | null>} */
  #texts = new WeakMap();
  /** @type {WeakSet<Node>} nodes of the server that the page has removed or moved */
  #taken = new WeakSet();
  #serving = 0;
  /** @type {Set<(node: Node) => boolean>} where the server's changes are awaited */
  #areas = new Set();
  #isPage = false;
  #observer = new MutationObserver((records) => this.#note(records));

  constructor() {
    this.#observer.observe(document.documentElement, {
      subtree: true,
      childList: true,
      attributeOldValue: true,
      characterDataOldValue: true,
    });
  }

  /**
   * Call `render`, which shows what the server has sent.
   *
   * @param {() => any} render
   * @param {boolean} [isPage] whether it is the whole page
   * @param {Element[]} [targets] what changes, if that is known; while `render` goes on,
   *   the page may change everything else
   */
  serve(render, isPage = false, targets) {
    const places = targets?.map((target) => ({ target, parent: target.parentNode }));
    /** @param {Node} node */
    const area = (node) =>
      places?.some(({ target, parent }) => parent === node || target.contains(node)) ??
      true;
    this.flush();
    this.#serving += 1;
    this.#isPage = isPage;
    /** @type {any} */
    let timer;
    const end = () => {
      if (timer === null) return;
      clearTimeout(timer);
      timer = null;
      this.flush();
      this.#areas.delete(area);
      if (isPage) this.#prune();
    };
    let result;
    try {
      result = render();
    } finally {
      this.flush();
      this.#serving -= 1;
      if (result?.then) {
        this.#areas.add(area);
        result.then(end, end);
        timer = setTimeout(end, PATIENCE);
      } else end();
    }
    return result;
  }

  // Take in the mutations that the browser has not reported yet.
  flush() {
    this.#note(this.#observer.takeRecords());
  }

  get isServing() {
    return this.#serving + this.#areas.size > 0;
  }

  // The elements whose children were edited.
  get parents() {
    return [...this.#children.keys()].filter((parent) => parent.isConnected);
  }

  /** @param {Node} parent */
  hasChildren(parent) {
    return this.#children.has(parent);
  }

  /** @param {Node} node */
  attributes(node) {
    return this.#attributes.get(node) ?? new Map();
  }

  /**
   * An attribute as the server has sent it.
   *
   * @type {(element: Element, name: string) => string | null}
   */
  attribute(element, name) {
    const edited = this.attributes(element);
    return edited.has(name) ? edited.get(name) : element.getAttribute(name);
  }

  /**
   * The children as the server has sent them.
   *
   * @param {Node} parent
   */
  children(parent) {
    return this.#children.get(parent) ?? [...parent.childNodes];
  }

  /**
   * The text as the server has sent it.
   *
   * @param {Node} node
   * @returns {string}
   */
  text(node) {
    if (node instanceof Text) return this.#texts.get(node) ?? node.data;
    return this.children(node)
      .map((child) => this.text(child))
      .join("");
  }

  /**
   * Return whether the server sends for `node` what it has sent before.
   *
   * @type {(node: any, fresh: any) => boolean}
   */
  isUnchanged(node, fresh) {
    if (node.nodeName !== fresh.nodeName) return false;
    if (!(node instanceof Element)) return this.text(node) === this.text(fresh);
    if (isVolatile(node)) return true;
    if (node.localName === "template" && node.innerHTML !== fresh.innerHTML)
      return false;
    const names = [...node.getAttributeNames(), ...fresh.getAttributeNames()];
    names.push(...this.attributes(node).keys());
    /** @param {string} name */
    const isSame = (name) => this.attribute(node, name) === fresh.getAttribute(name);
    const children = this.children(node);
    return (
      children.length === fresh.childNodes.length &&
      names.every(isSame) &&
      children.every((child, place) => this.isUnchanged(child, fresh.childNodes[place]))
    );
  }

  /**
   * The edits below `element` are saved, or undone by the server: what it sends next
   * counts, but for fields that are newer.
   *
   * @type {(element: Element, isNewer: (field: any) => boolean) => void}
   */
  forget(element, isNewer) {
    this.flush();
    for (const one of this.editables)
      if (element.contains(one) && !isNewer(one)) this.editables.delete(one);
    for (const parent of this.parents)
      if (element.contains(parent) && !this.isReplaced(parent)) this.follow(parent);
    for (const field of [element, ...element.querySelectorAll("input")])
      if (!isNewer(field)) this.#attributes.get(field)?.delete("value");
  }

  /**
   * Return whether the page has replaced all of the server's children by elements of its
   * own, as widgets do.
   *
   * @param {Element} parent
   */
  isReplaced(parent) {
    const isOwn = (/** @type {Node} */ node) => this.own.has(node);
    return (
      this.children(parent).length > 0 &&
      parent.firstElementChild !== null &&
      [...parent.childNodes].every(isOwn)
    );
  }

  /**
   * Return whether the page has brought the server's children into another order.
   *
   * @param {Node} parent
   */
  isMoved(parent) {
    const served = this.children(parent).filter((node) => node.parentNode === parent);
    const now = [...parent.childNodes].filter((node) => !this.own.has(node));
    return served.some((node, place) => node !== now[place]);
  }

  /**
   * Return the elements that the page has moved out of their parent.
   *
   * @param {Node} parent
   * @returns {any[]}
   */
  moved(parent) {
    return this.children(parent).filter(
      (node) =>
        node instanceof Element && node.isConnected && node.parentNode !== parent,
    );
  }

  /**
   * The children have followed the server, but for those of the page itself, and maybe
   * for their order.
   *
   * @type {(parent: Node, order?: string[]) => void}
   */
  follow(parent, order) {
    const served = [...parent.childNodes].filter((node) => !this.own.has(node));
    /** @param {any} node */
    const placeOf = ({ id }) => order?.indexOf(id) ?? 0;
    served.sort((one, other) => placeOf(one) - placeOf(other));
    if (order || served.length < parent.childNodes.length)
      this.#children.set(parent, served);
    else this.#children.delete(parent);
  }

  /** @param {Record[]} records */
  #note(records) {
    const areas = [...this.#areas];
    // A frame has its src from the page, and goes to another by itself.
    /** @param {Record} record */
    const isAwaited = ({ target, attributeName }) =>
      (this.#isPage || attributeName !== "src") &&
      (this.#serving > 0 || areas.some((area) => area(target)));
    for (const record of records.filter(isAwaited)) this.#noteServed(record);
    records = records.filter((record) => !isAwaited(record));
    const active = /** @type {any} */ (document.activeElement);
    /** @param {Record} record */
    const isWritten = ({ attributeName, target }) =>
      attributeName === null && active?.contains(target);
    // To ask whether it is editable would cost a layout each time.
    if (records.some(isWritten) && active.isContentEditable) this.editables.add(active);
    /** @type {Set<Node>} */
    const noted = new Set();
    const edits = records.filter(({ target }) => this.#isServed(target));
    for (const record of edits) this.#noteEdit(record, noted);
    for (const record of edits.reverse()) {
      const { target, addedNodes, removedNodes } = record;
      if (noted.has(target))
        change(this.children(target), record, addedNodes, removedNodes);
    }
    if (this.own.size + this.#children.size > MANY) this.#prune();
  }

  /** @type {(record: Record, noted: Set<Node>) => void} */
  #noteEdit(record, noted) {
    const { target, attributeName, oldValue, addedNodes, removedNodes } = record;
    if (attributeName !== null) {
      if (isVolatile(target)) return; // it follows the server
      const edited = this.attributes(target);
      this.#attributes.set(target, edited);
      if (!edited.has(attributeName)) edited.set(attributeName, oldValue);
      return;
    }
    const isText = target instanceof Text;
    const parent = /** @type {Element} */ (isText ? target.parentNode : target);
    if (isText && !this.#texts.has(target)) this.#texts.set(target, oldValue);
    if (!this.#children.has(parent)) {
      this.#children.set(parent, [...parent.childNodes]);
      noted.add(parent);
    }
    for (const node of removedNodes) if (!this.own.delete(node)) this.#taken.add(node);
    for (const node of addedNodes) if (!this.#taken.has(node)) this.own.add(node);
  }

  /** @param {Record} record */
  #noteServed(record) {
    const { target, attributeName, addedNodes, removedNodes } = record;
    // A merge changes ids for a while.
    if (attributeName !== "id")
      this.#attributes.get(target)?.delete(attributeName ?? "");
    this.#texts.delete(target);
    for (const node of removedNodes) this.own.delete(node);
    for (const node of addedNodes) {
      this.own.delete(node);
      if (!this.#isPage) this.later.add(node);
    }
    const served = this.#children.get(target);
    if (served) change(served, record, removedNodes, addedNodes);
  }

  // Edits of what the page has added itself do not count.
  /** @param {Node | null} node */
  #isServed(node) {
    for (; node !== document.body; node = node.parentNode)
      if (node === null || this.own.has(node)) return false;
    return true;
  }

  #prune() {
    const nodes = [this.own, this.editables, this.#children];
    for (const all of nodes)
      for (const node of all.keys()) if (!node.isConnected) all.delete(node);
  }
}

/** @param {any} element */
const isVolatile = ({ localName, name }) =>
  localName === TAG || name === "csrfmiddlewaretoken";

/**
 * Take `removed` out of `nodes`, and put `added` to the place of the record.
 *
 * @type {(nodes: Node[], record: Record, removed: NodeList, added: NodeList) => void}
 */
function change(nodes, { previousSibling, nextSibling }, removed, added) {
  for (const node of removed) {
    const place = nodes.indexOf(node);
    if (place >= 0) nodes.splice(place, 1);
  }
  /** @param {Node | null} node */
  const placeOf = (node) => (node ? nodes.indexOf(node) : -1);
  const after = placeOf(nextSibling);
  const end = previousSibling === null ? 0 : after < 0 ? nodes.length : after;
  nodes.splice(placeOf(previousSibling) + 1 || end, 0, ...added);
}
