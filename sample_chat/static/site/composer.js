// The field of a new message: Enter sends it, and the next one can be written at once.

import { put } from "./unsent.js";

addEventListener("keydown", (event) => {
  const isPlainEnter = event.key === "Enter" && !event.shiftKey && !event.isComposing;
  if (!isPlainEnter || !event.target.matches?.("[data-composer] textarea")) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});

// Captured, so that it runs before Turbo's own listener.
addEventListener("submit", take, { capture: true });

function take(event) {
  const form = event.target;
  if (!form.matches("[data-composer]")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const text = form.elements.text.value.trim();
  if (text) put(form.getAttribute("action"), text);
  form.reset();
}

addEventListener("turbo:submit-end", ({ target, detail }) => {
  if (detail.success && target.matches("[data-reset]")) target.reset();
});
