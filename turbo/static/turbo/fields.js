// The person's input: which fields are filled in, and where they are in a new page.

/**
 * @import { Edits } from "./edits.js"
 *
 * @typedef {any} Field an input, a textarea, a select or an editable element
 * @typedef {string | boolean | number} State
 *
 * @typedef {object} Match
 * @property {Field} [fresh] the field of the new page
 * @property {boolean} [isOther] whether its form is for another record
 */

/** @type {WeakMap<Field, State | { typed: State } | undefined>} saved, or entered since */
const known = new WeakMap();

/** @type {(root: ParentNode) => Field[]} */
export const fieldsOf = (root) => [...root.querySelectorAll("input, textarea, select")];

/** @param {Field} field */
export const enter = (field) => known.set(field, { typed: stateOf(field) });

/** @param {Field} field */
export const reset = (field) => known.delete(field);

/** @param {Field} field */
export const read = (field) => ({ state: stateOf(field), was: known.get(field) });

/**
 * What was entered since `read()` is not saved.
 *
 * @type {(field: Field, read: { state: State, was: any }) => void}
 */
export function save(field, { state, was }) {
  if (known.get(field) === was) known.set(field, state);
}

/**
 * Return the fields in an element, and those of a form that stand elsewhere.
 *
 * @param {Element} element
 */
export const fieldsWith = (element) =>
  fieldsOf(document).filter(
    (field) => field.form === element || element.contains(field),
  );

/**
 * Return whether a field has the value that somebody has entered last, or another one
 * than after loading, and it was not saved. Browsers fill in, restore and correct values
 * without an event.
 *
 * @type {(field: Field, edits: Edits) => boolean}
 */
export function isTyped(field, edits) {
  const state = stateOf(field);
  /** @type {any} */
  const was = known.get(field);
  if (state === was) return false;
  if (state === was?.typed) return true;
  const { type, options, validity, defaultValue, defaultChecked } = field;
  if (validity?.badInput) return true; // half a date or number has no value yet
  if (type === "hidden") return edits.attributes(field).has("value");
  if (state === (isBox(field) ? defaultChecked : defaultValue)) return false;
  /** @param {HTMLOptionElement} option */
  const isPreset = ({ selected, defaultSelected }) => selected === defaultSelected;
  if (options && [...options].every(isPreset)) return false;
  return state !== stateOf(loaded(field));
}

/**
 * @param {Field} field
 * @returns {State}
 */
export function stateOf(field) {
  const { options, files, checked, value } = field;
  if (field.isContentEditable) return field.innerHTML;
  if (options) return [...options].map(({ selected }) => selected).join();
  return isBox(field) ? checked : files ? files.length : value;
}

/** @type {(field: Field, from: Field) => void} */
export function copyState(field, from) {
  const { options, files, checked, value } = from;
  known.set(field, known.get(from));
  /** @param {HTMLOptionElement} option */
  const isChosen = (option) =>
    [...options].some((one) => one.selected && one.value === option.value);
  if (from.isContentEditable) field.replaceChildren(...from.childNodes);
  else if (options)
    for (const option of field.options) option.selected = isChosen(option);
  else if (isBox(from)) field.checked = checked;
  else if (files) field.files = files;
  else field.value = value;
}

// In the new page the browser joins neither custom elements with their forms nor fields
// outside of them.
/** @param {Field} field */
export function formOf(field) {
  const id = field.getAttribute("form");
  if (!id) return field.form ?? field.closest("form");
  return field.getRootNode().querySelector(`form#${CSS.escape(id)}`);
}

/** @param {Field} field */
const isBox = ({ type }) => type === "checkbox" || type === "radio";

/**
 * Return the field as it is right after loading.
 *
 * @param {Field} field
 */
function loaded(field) {
  const fresh = document.createElement(field.localName);
  for (const { name, value } of field.attributes) fresh.setAttribute(name, value);
  fresh.append(...[...field.childNodes].map((node) => node.cloneNode(true)));
  return fresh;
}

const INDEX = /^(.+-)\d+-/; // of a form in a formset of Django

/**
 * For each field or other element of `typed`, find the one of the same record in a new
 * page.
 *
 * @param {Field[]} typed
 * @param {Element} page
 * @param {Element} newPage
 * @param {Edits} edits
 */
export function matches(typed, page, newPage, edits) {
  /** @type {Map<HTMLFormElement, string>} */
  const records = new Map();
  const names = new Set(typed.map(nameOf));
  const [old, now] = [page, newPage].map(fieldsOfNames);
  const [mine, theirs] = [old, now].map((fields) => grouped(fields, keyOf));
  const others = grouped(now, placeOf);
  /** @type {Map<Field[], string[]>} */
  const texts = new Map();
  /** @type {Map<Field, Match>} */
  const found = new Map();
  for (const field of typed) found.set(field, matchOf(field));
  return found;

  /** @param {Element} root */
  function fieldsOfNames(root) {
    const kinds = new Set(typed.map(({ localName }) => localName));
    /** @type {NodeListOf<Field>} */
    const all = root.querySelectorAll([...kinds, ":not(*)"].join());
    return [...all].filter((field) => names.has(nameOf(field)));
  }

  /** @param {Field} field */
  function matchOf(field) {
    const key = keyOf(field);
    const olds = mine.get(key) ?? [];
    const news = theirs.get(key) ?? [];
    if (olds.length === 1 && news.length === 1)
      return { fresh: news[0], isOther: isCounted(field, news[0]) };
    if (news.length) return { fresh: matchOfRow(field, olds, news) };
    const [other, ...more] = others.get(placeOf(field)) ?? [];
    return field.id && other && formOf(other) && !more.length
      ? { fresh: other, isOther: true }
      : {};
  }

  /**
   * Return whether the page and the server have both added forms to a formset: they would
   * have the same numbers.
   *
   * @type {(field: Field, fresh: Field) => boolean}
   */
  function isCounted(field, fresh) {
    const isCount = field.form && /-TOTAL_FORMS$/.test(field.name);
    return isCount && edits.attribute(field, "value") !== fresh.value;
  }

  /**
   * Only what is written in their rows tells these fields apart.
   *
   * @type {(field: Field, olds: Field[], news: Field[]) => Field | undefined}
   */
  function matchOfRow(field, olds, news) {
    const text = textsOf(olds)[olds.indexOf(field)];
    /** @param {Field[]} fields */
    const alike = (fields) =>
      fields.filter((_, place) => textsOf(fields)[place] === text);
    const [ours, same] = [alike(olds), alike(news)];
    return ours.length === same.length ? same[ours.indexOf(field)] : undefined;
  }

  /**
   * Return what is written in the row of each field.
   *
   * @param {Field[]} fields
   */
  function textsOf(fields) {
    const before = texts.get(fields);
    if (before) return before;
    const all = fields.map((field, place) =>
      edits.text(rowOf(field, [fields[place - 1], fields[place + 1]])),
    );
    texts.set(fields, all);
    return all;
  }

  /** @param {Field} field */
  function keyOf(field) {
    const form = formOf(field);
    if (form && !records.has(form)) records.set(form, recordOf(form));
    return placeOf(field) + records.get(form);
  }

  /**
   * Return the names and ids around a field, and in a formset the key of its record.
   *
   * @param {Field} field
   */
  function placeOf(field) {
    const { id, name, value } = field;
    const [index] = INDEX.exec(name) ?? [];
    const around = field.parentElement.closest("[id]")?.getAttribute("id");
    return JSON.stringify([
      nameOf(field),
      isBox(field) && value,
      field.closest("[data-turbo-key]")?.dataset.turboKey,
      index ? formOf(field)?.elements[`${index}id`]?.value : [id, around],
    ]);
  }

  // A date picker may have changed the type.
  /** @param {Field} field */
  function nameOf(field) {
    const [type, editable, name] = ["type", "contenteditable", "name"].map((one) =>
      edits.attribute(field, one),
    );
    return `${field.localName} ${type} ${editable} ${name?.replace(INDEX, "$1")}`;
  }

  /** @param {HTMLFormElement} form */
  function recordOf(form) {
    /** @type {NodeListOf<HTMLInputElement>} */
    const inputs = form.querySelectorAll("input[type=hidden]");
    const hidden = [...inputs]
      .filter(
        ({ name }) => name !== "csrfmiddlewaretoken" && !/-\d+-|_FORMS$/.test(name),
      )
      .filter((one) => edits.attribute(one, "type") === "hidden")
      .map((one) => [one.name, edits.attribute(one, "value")]);
    return JSON.stringify([form.getAttribute("action"), hidden]);
  }
}

/** @type {(fields: Field[], identify: (field: Field) => string) => Map<string, Field[]>} */
export function grouped(fields, identify) {
  const groups = new Map();
  for (const field of fields) {
    const key = identify(field);
    groups.set(key, groups.get(key) ?? []);
    groups.get(key).push(field);
  }
  return groups;
}

/**
 * Return the largest element around a field without the ones before and after it.
 *
 * @type {(field: Field, neighbours: (Field | undefined)[]) => Element}
 */
function rowOf(field, neighbours) {
  let row = field;
  const hasNeighbour = () =>
    neighbours.some((one) => one && row.parentElement.contains(one));
  while (row.parentElement && !hasNeighbour()) row = row.parentElement;
  return row;
}
