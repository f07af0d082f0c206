// A field that takes several short values: type one, press Enter or comma, take it away with its button.

import { h } from "./dom.js";
import { icon } from "./icons.js";

export class TokenField {
  #values = [];
  #known = new Set();
  #name;
  #input;
  #list;
  #suggestions;
  #onChange;

  /** Fill `root` with a field named `name` ("Category"); suggestions come later through `suggest`. */
  constructor(root, name, onChange) {
    const id = `${root.id}-input`;
    this.#name = name;
    this.#onChange = onChange;
    this.#suggestions = h("datalist", { id: `${id}-known` });
    this.#list = h("ul", { class: "tokens", "aria-label": `${name}: chosen`, hidden: true });
    this.#input = h("input", {
      id,
      type: "text",
      class: "field",
      autocomplete: "off",
      maxlength: 128,
      placeholder: "Type and press Enter",
      list: `${id}-known`,
      on: { keydown: (event) => this.#key(event), change: () => this.#commit() },
    });
    root.append(h("label", { for: id }, name), this.#input, this.#suggestions, this.#list);
  }

  get values() {
    return [...this.#values];
  }

  /** Show exactly these values, without telling anybody. */
  set values(values) {
    this.#values = [...new Set(values)];
    this.#input.value = "";
    this.#draw();
  }

  /** Offer these values too, beside those offered before. */
  suggest(values) {
    for (const value of values) if (value) this.#known.add(value);
    const sorted = [...this.#known].sort((a, b) => a.localeCompare(b));
    this.#suggestions.replaceChildren(...sorted.map((value) => h("option", { value })));
  }

  #key(event) {
    if (event.key !== "Enter" && event.key !== ",") return;
    event.preventDefault();
    this.#commit();
  }

  #commit() {
    const value = this.#input.value.trim();
    this.#input.value = "";
    if (!value || this.#values.includes(value)) return;
    this.#values.push(value);
    this.#draw();
    this.#onChange();
  }

  #remove(value) {
    this.#values = this.#values.filter((other) => other !== value);
    this.#draw();
    this.#input.focus();
    this.#onChange();
  }

  #draw() {
    this.#list.hidden = this.#values.length === 0;
    this.#list.replaceChildren(
      ...this.#values.map((value) =>
        h(
          "li",
          { class: "token" },
          h("span", {}, value),
          h(
            "button",
            {
              type: "button",
              class: "icon-button",
              "aria-label": `Remove ${value} from ${this.#name}`,
              on: { click: () => this.#remove(value) },
            },
            icon("close"),
          ),
        ),
      ),
    );
  }
}
