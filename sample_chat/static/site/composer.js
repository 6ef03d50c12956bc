// The field of a new message: Enter sends, and the field is free for the next one while
// the first is still on its way. They go one after the other, for Turbo calls off what a
// form has sent when it is sent again. What is refused comes back.

const queues = new WeakMap(); // form → texts, the first of which is on its way
let isFromQueue = false;

addEventListener("keydown", (event) => {
  const isPlainEnter = event.key === "Enter" && !event.shiftKey && !event.isComposing;
  if (!isPlainEnter || !event.target.matches?.("[data-composer] textarea")) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});

// Captured, so that Turbo has not heard of it yet.
addEventListener("submit", enqueue, { capture: true });

addEventListener("formdata", ({ target: form, formData }) => {
  const [text] = queues.get(form) ?? [];
  if (text) formData.set("text", text);
});

addEventListener("turbo:submit-end", ({ target: form, detail }) => {
  if (detail.success && form.matches("[data-reset]")) form.reset();
  if (!queues.has(form)) return;
  if (detail.success) sendNext(form);
  else giveBack(form);
});

function enqueue(event) {
  const form = event.target;
  if (!form.matches("[data-composer]") || isFromQueue) return;
  const field = form.elements.text;
  const queue = [...(queues.get(form) ?? []), field.value];
  queues.set(form, queue);
  field.value = "";
  if (queue.length === 1) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}

function sendNext(form) {
  queues.get(form).shift();
  if (queues.get(form).length === 0) return;
  isFromQueue = true;
  form.noValidate = true; // the field may be empty: what is sent has left it
  form.requestSubmit();
  form.noValidate = false;
  isFromQueue = false;
}

function giveBack(form) {
  const field = form.elements.text;
  field.value = [...queues.get(form), field.value].filter(Boolean).join("\n");
  queues.delete(form);
}
