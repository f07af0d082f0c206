// The chips: every part of the query beside the search bar's own text, with preview, weight and sign.

import { h } from "./dom.js";
import { setError } from "./errors.js";
import { formatBytes } from "./format.js";
import { icon } from "./icons.js";
import { soundPlayer } from "./player.js";

const SLIDER_MAX = 3;

export class PartList {
  #list;
  #onChange;
  #chips = new Map(); // part id -> {part, element, error, url}

  /** `onChange` runs after a part was added, removed or weighted by the user. */
  constructor(list, onChange) {
    this.#list = list;
    this.#onChange = onChange;
  }

  /** The parts in the order shown, see query.js. */
  get parts() {
    return [...this.#chips.values()].map(({ part }) => part);
  }

  addText(text, weight) {
    this.#insert({ id: crypto.randomUUID(), text, weight });
    this.#onChange();
  }

  addFiles(files) {
    for (const file of files) this.#insert({ id: crypto.randomUUID(), file, weight: 1 });
    if (files.length > 0) this.#onChange();
  }

  /** Show exactly these parts, without telling anybody. */
  replace(parts) {
    for (const id of [...this.#chips.keys()]) this.#drop(id);
    for (const part of parts) this.#insert(part);
  }

  /** Put an error at a part; null clears the errors of all. */
  showError(id, error) {
    for (const [key, chip] of this.#chips) {
      const own = key === id ? error : null;
      setError(chip.error, own);
      chip.element.classList.toggle("invalid", own !== null);
      if (own) chip.element.scrollIntoView({ block: "nearest" });
    }
  }

  #insert(part) {
    const url = part.file ? URL.createObjectURL(part.file) : null;
    const error = h("p", { class: "error", role: "alert", hidden: true });
    const name = part.file ? part.file.name : part.text;
    const { sign, slider, output, show } = weightControls(part, name, this.#onChange);
    const remove = h(
      "button",
      {
        type: "button",
        class: "icon-button",
        "aria-label": `Remove ${name}`,
        title: "Remove",
        on: { click: () => this.#remove(part.id) },
      },
      icon("close"),
    );
    const element = h(
      "li",
      { class: "chip", role: "group", "aria-label": `Query part: ${name}` },
      h(
        "div",
        { class: "chip-main" },
        preview(part, url),
        h("div", { class: "chip-text" }, h("span", { class: "chip-name", title: name }, name), detail(part, url)),
        remove,
      ),
      h("div", { class: "chip-weight" }, sign, slider, output),
      error,
    );
    this.#chips.set(part.id, { part, element, error, url });
    show(element);
    this.#list.append(element);
    this.#list.hidden = false;
  }

  #remove(id) {
    const { element } = this.#chips.get(id);
    const neighbour = element.nextElementSibling ?? element.previousElementSibling;
    this.#drop(id);
    // Focus must not fall to the top of the page because its button is gone.
    const target = neighbour?.querySelector("button[aria-label^='Remove']") ?? document.getElementById("q");
    target.focus();
    this.#onChange();
  }

  #drop(id) {
    const { element, url } = this.#chips.get(id);
    if (url) URL.revokeObjectURL(url);
    element.remove();
    this.#chips.delete(id);
    this.#list.hidden = this.#chips.size === 0;
  }
}

function weightControls(part, name, onChange) {
  const output = h("output", { class: "weight" });
  const slider = h("input", {
    type: "range",
    min: 0.1,
    max: Math.max(SLIDER_MAX, Math.abs(part.weight)),
    step: 0.1,
    value: Math.abs(part.weight),
    "aria-label": `Weight of ${name}`,
  });
  const sign = h("button", { type: "button", class: "sign" });
  let chip = null;
  const show = (element) => {
    chip = element ?? chip;
    const away = part.weight < 0;
    output.textContent = `${away ? "−" : "+"}${Math.abs(part.weight).toFixed(1)}`;
    sign.replaceChildren(icon(away ? "minus" : "plus"), away ? "Less like this" : "More like this");
    sign.setAttribute("aria-pressed", String(away));
    sign.setAttribute("aria-label", `Less like ${name}`);
    slider.setAttribute("aria-valuetext", `${part.weight.toFixed(1)}`);
    chip?.classList.toggle("negative", away);
  };
  sign.addEventListener("click", () => {
    part.weight = -part.weight;
    show();
    onChange();
  });
  slider.addEventListener("input", () => {
    part.weight = Math.sign(part.weight) * Number(slider.value);
    show();
  });
  slider.addEventListener("change", onChange);
  return { sign, slider, output, show };
}

/** What the browser makes of the file; only the server's word on its kind counts, so this is a picture, no claim. */
function preview(part, url) {
  if (!part.file) return h("span", { class: "chip-thumb" }, icon("text"));
  const kind = part.file.type.split("/")[0];
  const frame = h("span", { class: "chip-thumb" });
  const fall = () => frame.replaceChildren(icon("file"));
  if (kind === "image") {
    frame.append(h("img", { src: url, alt: "", on: { error: fall } }));
  } else if (kind === "video") {
    // The first frame stands for the video; the fragment makes browsers paint it.
    frame.append(
      h("video", { src: `${url}#t=0.1`, muted: true, playsinline: true, preload: "metadata", on: { error: fall } }),
    );
  } else {
    frame.append(icon(kind === "audio" ? "audio" : "file"));
  }
  return frame;
}

function detail(part, url) {
  if (!part.file) return h("span", { class: "chip-detail" }, "text");
  const size = formatBytes(part.file.size);
  if (part.file.type.startsWith("audio/")) return soundPlayer({ url, label: part.file.name });
  return h("span", { class: "chip-detail" }, size);
}
