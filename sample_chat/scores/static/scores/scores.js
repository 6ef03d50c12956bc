// <score-board url="/ws/scores/" client="…/bindings.js">: a list that follows a binding.

class ScoreBoard extends HTMLElement {
  #scores = null;

  async connectedCallback() {
    const { BoundList } = await import(this.getAttribute("client"));
    if (!this.isConnected || this.#scores) return;
    this.#scores = new BoundList(this.getAttribute("url"));
    this.#scores.addEventListener("change", this);
  }

  disconnectedCallback() {
    this.#scores?.removeEventListener("change", this);
    this.#scores?.close();
    this.#scores = null;
  }

  handleEvent() {
    const items = this.#scores.values().map(({ name, cups }) => {
      const item = document.createElement("li");
      item.textContent = `${name}: ${cups}`;
      return item;
    });
    this.querySelector("ol").replaceChildren(...items);
  }
}

customElements.get("score-board") ?? customElements.define("score-board", ScoreBoard);
