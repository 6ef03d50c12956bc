// What a stream brings is marked, so that the style sheet can let it fade in.

addEventListener("turbo:before-stream-render", (event) => {
  const template = event.detail.newStream.querySelector("template");
  for (const element of template?.content.children ?? []) {
    if (!document.getElementById(element.id)) element.classList.add("arrived");
  }
});
