// An element that a stream removes fades out first, as the style sheet says.
//
// Messages about the element wait for the end of the animation. It loses its id at once,
// so that nothing else finds it, and nothing in it can be used any more.

addEventListener("turbo:before-stream-render", ({ detail }) => {
  if (detail.newStream.action === "remove")
    detail.render = ({ targetElements }) => Promise.all(targetElements.map(leave));
});

// Not into the snapshot of the page, where nothing would end the animation.
addEventListener("turbo:before-cache", () => {
  for (const element of document.querySelectorAll(".leaving")) element.remove();
});

async function leave(element) {
  element.removeAttribute("id");
  element.inert = true;
  element.classList.add("leaving");
  await Promise.allSettled(element.getAnimations().map(({ finished }) => finished));
  element.remove();
}
