// Keeps the focus where it was when a stream replaces or removes what has it.
//
// It goes to the element with the same id, else to the target with the same id, else to
// the next neighbour, the previous one, or the parent. Import it after other modules
// that change how a stream is rendered.

addEventListener("turbo:before-stream-render", ({ detail }) => {
  const { newStream, render } = detail;
  if (newStream.action === "refresh") return; // it has no target
  detail.render = (stream) => {
    const focused = document.activeElement;
    const target = stream.targetElements.find((element) => element.contains(focused));
    const { nextElementSibling, previousElementSibling, parentElement } = target ?? {};
    const ids = [focused.id, target?.id];
    const rendering = render(stream);
    if (target && !isInUse(focused)) {
      const same = ids.map((id) => id && document.getElementById(id));
      focusFirst(...same, nextElementSibling, previousElementSibling, parentElement);
    }
    return rendering;
  };
});

function isInUse(element) {
  return element.isConnected && !element.closest("[inert]");
}

function focusFirst(...elements) {
  for (const element of elements) {
    if (!element || !isInUse(element)) continue;
    element.focus();
    if (document.activeElement === element) return;
    element.tabIndex = -1; // in reach of scripts only
    element.focus();
    return;
  }
}
