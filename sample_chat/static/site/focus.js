// Keeps the focus where it was when a stream replaces or removes what has it.
//
// It goes to the element with the same id, else to the target with the same id, else to
// the next neighbour, the previous one, or the parent. Import it after other modules
// that change how a stream is rendered.

addEventListener("turbo:before-stream-render", ({ detail }) => {
  const { newStream, render } = detail;
  if (!newStream.target && !newStream.targets) return; // as a refresh or a whisper
  detail.render = (stream) => {
    const focused = document.activeElement;
    const target = stream.targetElements.find((element) => element.contains(focused));
    const parent = target?.parentElement;
    const siblings = [...(parent?.children ?? [])];
    const place = siblings.indexOf(target);
    const next = siblings.slice(place + 1).find(isInUse); // not one that is leaving
    const previous = siblings.slice(0, Math.max(place, 0)).findLast(isInUse);
    const ids = [focused.id, target?.id];
    const rendering = render(stream);
    if (target && !isInUse(focused)) {
      const same = ids.map((id) => id && document.getElementById(id));
      focusFirst(...same, next, previous, parent);
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
