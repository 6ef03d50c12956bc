// Lines above messages: they stand inside the messages, and go away with them.

const LANGUAGE = document.documentElement.lang;
const FORMAT = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "full" });

/** Show the day above the first message of each day, in the time zone of the user. */
export function divideByDay(messages) {
  let last = "";
  for (const message of messages) {
    const day = FORMAT.format(new Date(message.getAttribute("datetime")));
    putLine(message, "day", day === last ? "" : day);
    last = day;
  }
}

/** Put a line of this kind above a message, or none if there is no text. */
export function putLine(message, kind, text) {
  const line =
    message.querySelector(`:scope > .${kind}`) ?? document.createElement("p");
  line.className = `line ${kind}`;
  if (line.textContent !== text) line.textContent = text;
  if (!text) line.remove();
  else if (!line.isConnected) message.prepend(line);
}
