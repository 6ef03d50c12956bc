// Marks the elements that a stream adds, so that the style sheet can fade them in.

addEventListener("turbo:before-stream-render", (event) => {
  const template = event.detail.newStream.querySelector("template");
  for (const element of template?.content.children ?? []) {
    if (!document.getElementById(element.id)) element.classList.add("arrived");
  }
});
