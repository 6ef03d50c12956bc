// <dismissible-note key="…">: can be dismissed in this browser, once and for all.

class DismissibleNote extends HTMLElement {
  connectedCallback() {
    this.hidden = localStorage.getItem(this.#store) !== null;
    const button = this.querySelector("button");
    button.hidden = false;
    button.addEventListener("click", this);
  }

  handleEvent() {
    localStorage.setItem(this.#store, "");
    this.hidden = true;
    document.querySelector("main").focus();
  }

  get #store() {
    return `dismissed ${this.getAttribute("key")}`;
  }
}

customElements.define("dismissible-note", DismissibleNote);
