// The panel of filters and options.

import { byId } from "./dom.js";
import { setError } from "./errors.js";
import { countChanged, defaultOptions } from "./query.js";
import { TokenField } from "./token-field.js";

export class FilterPanel {
  #form = byId("filters");
  #priceMin = byId("price-min");
  #priceMax = byId("price-max");
  #priceError = byId("price-error");
  #available = byId("available");
  #targets = [...document.querySelectorAll("input[name=target]")];
  #limit = byId("limit");
  #diversity = byId("diversity");
  #diversityValue = byId("diversity-value");
  #reset = byId("reset-filters");
  #badge = byId("filter-count");
  #category;
  #tagsAny;
  #tagsAll;
  #onChange;

  /** `onChange` runs when a valid change was made by the user. */
  constructor(onChange) {
    this.#onChange = onChange;
    const changed = () => this.#changed();
    this.#category = new TokenField(byId("category"), "Category", changed);
    this.#tagsAny = new TokenField(byId("tags-any"), "Tags, any of", changed);
    this.#tagsAll = new TokenField(byId("tags-all"), "Tags, all of", changed);
    const fields = [this.#priceMin, this.#priceMax, this.#available, this.#limit, this.#diversity, ...this.#targets];
    for (const field of fields) field.addEventListener("change", changed);
    this.#diversity.addEventListener("input", () => this.#showDiversity());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      changed();
    });
    this.#reset.addEventListener("click", () => {
      this.options = defaultOptions();
      changed();
    });
    this.options = defaultOptions();
  }

  /** The options as they stand, see query.js. */
  get options() {
    return {
      priceMin: readPrice(this.#priceMin),
      priceMax: readPrice(this.#priceMax),
      categories: this.#category.values,
      tagsAny: this.#tagsAny.values,
      tagsAll: this.#tagsAll.values,
      availableOnly: this.#available.checked,
      targets: this.#targets.filter((box) => box.checked).map((box) => box.value),
      limit: Number(this.#limit.value),
      diversity: Number(this.#diversity.value),
    };
  }

  /** Show these options, without telling anybody. */
  set options(options) {
    this.#priceMin.value = options.priceMin ?? "";
    this.#priceMax.value = options.priceMax ?? "";
    this.#category.values = options.categories;
    this.#tagsAny.values = options.tagsAny;
    this.#tagsAll.values = options.tagsAll;
    this.#available.checked = options.availableOnly;
    for (const box of this.#targets) box.checked = options.targets.includes(box.value);
    this.#limit.value = String(options.limit);
    this.#diversity.value = String(options.diversity);
    this.#showDiversity();
    this.#showCount();
    this.validate();
  }

  /** Whether the fields make sense; what does not is said beside it. */
  validate() {
    const { priceMin, priceMax } = this.options;
    const unreadable = this.#priceMin.validity.badInput || this.#priceMax.validity.badInput;
    const negative = (priceMin ?? 0) < 0 || (priceMax ?? 0) < 0;
    const swapped = priceMin !== null && priceMax !== null && priceMin > priceMax;
    let message = null;
    if (unreadable) message = "A price is a number.";
    else if (negative) message = "A price is not below 0.";
    else if (swapped) message = "The lower price is above the upper one.";
    setError(this.#priceError, message && { message });
    for (const field of [this.#priceMin, this.#priceMax]) field.setAttribute("aria-invalid", String(message !== null));
    return message === null;
  }

  /** Offer the categories and tags of these items. */
  suggest(items) {
    this.#category.suggest(items.map((item) => item.category));
    const tags = items.flatMap((item) => item.tags);
    this.#tagsAny.suggest(tags);
    this.#tagsAll.suggest(tags);
  }

  #changed() {
    this.#showCount();
    if (this.validate()) this.#onChange();
  }

  #showDiversity() {
    const value = Number(this.#diversity.value);
    this.#diversityValue.textContent = value.toFixed(2);
    this.#diversity.setAttribute("aria-valuetext", `${value.toFixed(2)}, 0 is relevance alone`);
  }

  #showCount() {
    const count = countChanged(this.options);
    this.#badge.textContent = count ? ` (${count})` : "";
    this.#reset.hidden = count === 0;
  }
}

function readPrice(field) {
  return field.value === "" ? null : Number(field.value);
}
