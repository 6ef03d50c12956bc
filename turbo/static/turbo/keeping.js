// The user's input in a refresh.

/** @import { Turbo } from "./rendering.js" */

/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Field */

/**
 * Keep the user's input in a refresh. A morph by Turbo resets all fields to the
 * server's values, even the field with the focus. The user has not asked for this
 * refresh, be it ours or a broadcast one, so typed values are kept, and so are frames
 * with a form that the new page does not have.
 *
 * @param {Turbo} Turbo
 */
export function keepTyped({ navigator }) {
  /** @param {any} event */
  const keep = (event) => {
    const isRefresh = "method" in (navigator?.currentVisit?.refresh ?? {});
    const { newElement } = event.detail;
    if (!isRefresh || !newElement) return;
    if (isTyped(event.target) || isInUse(event.target, newElement))
      event.preventDefault();
  };
  addEventListener("turbo:before-morph-element", keep);
}

/** @type {(frame: Element, newFrame: Element) => boolean} */
function isInUse(frame, newFrame) {
  if (frame.localName !== "turbo-frame") return false;
  /** @param {Field} field */
  const isWanted = (field) => isTyped(field) || field === document.activeElement;
  /** @param {Field} field */
  const isLacking = ({ name }) =>
    !newFrame.querySelector(`[name="${CSS.escape(name)}"]`);
  /** @type {NodeListOf<Field>} */
  const fields = frame.querySelectorAll("input, textarea, select");
  return [...fields].some((field) => isWanted(field) && isLacking(field));
}

/** @param {any} element */
function isTyped(element) {
  if (element.isContentEditable) return element === document.activeElement;
  if (element instanceof HTMLSelectElement) return isChosen(element);
  const { value, defaultValue = value, checked, defaultChecked } = element;
  return value !== defaultValue || checked !== defaultChecked;
}

/** @param {HTMLSelectElement} select */
function isChosen({ options, multiple }) {
  const preset = [...options].filter(({ defaultSelected }) => defaultSelected);
  const usual = preset.length || multiple ? preset : [options[0]];
  return [...options].some((option) => option.selected !== usual.includes(option));
}
