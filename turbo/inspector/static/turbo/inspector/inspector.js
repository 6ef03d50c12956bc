// Keeps the inspector's page up to date while it is visible.

const INTERVAL = 2_000;

let timer = 0;

/** @param {string} text What the page says of itself. */
function say(text) {
  const status = document.getElementById("turbo-live");
  if (status && status.textContent !== text) {
    status.textContent = text;
  }
}

async function update() {
  const answer = await fetch(location.href, { cache: "no-store", redirect: "manual" });
  if (!answer.ok) {
    return answer.status;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    // What somebody has selected to copy it stays.
    const isSelected =
      getSelection()?.containsNode(part, true) && !getSelection()?.isCollapsed;
    if (fresh && !isSelected && fresh.innerHTML !== part.innerHTML) {
      part.replaceChildren(...fresh.childNodes);
    }
  }
  return answer.status;
}

async function run() {
  clearTimeout(timer);
  if (document.hidden) {
    say("Paused");
    return;
  }
  try {
    const status = await update();
    if (status === 0 || (status >= 300 && status < 500)) {
      say("You may not see this page any more");
      return;
    }
    say(status < 300 ? "Live" : `The server answers ${status}; trying again`);
  } catch {
    say("The server cannot be reached; trying again");
  }
  clearTimeout(timer);
  timer = setTimeout(run, INTERVAL);
}

document.addEventListener("visibilitychange", run);
run();
