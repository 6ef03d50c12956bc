// A refresh by morph leaves alone what somebody is typing into.

const FIELDS = "input, textarea"

const isTyping = (field) =>
  field === document.activeElement || field.value !== field.defaultValue

addEventListener("turbo:before-morph-element", (event) => {
  const { target } = event
  const isFrame = target.localName === "turbo-frame"
  const fields = isFrame ? [...target.querySelectorAll(FIELDS)] : [target]
  if (fields.some((field) => field.matches(FIELDS) && isTyping(field))) {
    event.preventDefault()
  }
})
