// The field of a new message: Enter sends, and the field is free for the next one
// while the first is still on its way. If it is refused, its text comes back.

const sent = new WeakMap()

addEventListener("keydown", (event) => {
  const isPlainEnter = event.key === "Enter" && !event.shiftKey && !event.isComposing
  if (!isPlainEnter || !event.target.matches?.("[data-composer] textarea")) return
  event.preventDefault()
  event.target.form.requestSubmit()
})

addEventListener("turbo:submit-start", ({ target: form }) => {
  if (!form.matches("[data-composer]")) return
  sent.set(form, form.elements.text.value)
  form.reset()
})

addEventListener("turbo:submit-end", ({ target: form, detail }) => {
  if (detail.success && form.matches("[data-reset]")) form.reset()
  if (detail.success || !sent.has(form)) return
  form.elements.text.value ||= sent.get(form)
})
