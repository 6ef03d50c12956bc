// The field of a new message: Enter sends it, and you can write the next message while the
// first is being sent. Messages are sent one after the other, because Turbo cancels a form
// that is submitted again. If the server refuses a message, its text returns to the field.

const queues = new WeakMap(); // form → texts, the first of which is being sent
let isFromQueue = false;

addEventListener("keydown", (event) => {
  const isPlainEnter = event.key === "Enter" && !event.shiftKey && !event.isComposing;
  if (!isPlainEnter || !event.target.matches?.("[data-composer] textarea")) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});

// Captured, so that it runs before Turbo's own listener.
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
  form.noValidate = true; // the field is empty, because its text is in the queue
  form.requestSubmit();
  form.noValidate = false;
  isFromQueue = false;
}

function giveBack(form) {
  const field = form.elements.text;
  field.value = [...queues.get(form), field.value].filter(Boolean).join("\n");
  queues.delete(form);
}
