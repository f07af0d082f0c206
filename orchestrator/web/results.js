// The right-hand side: what was understood, the grid, its pages, and every state without hits.

import { hitCard } from "./card.js";
import { byId, h } from "./dom.js";
import { setError } from "./errors.js";
import { formatCount, formatMs, MODALITY_NAMES } from "./format.js";
import { releaseAll } from "./source.js";
import { drawTiming } from "./timing.js";

const SKELETONS = 8;
const SHOWN_TEXT = 120; // characters of a text part repeated above the results
const NOTICES = ["empty", "negative", "nothing", "failed"];

export class Results {
  #region = byId("results");
  #live = byId("live");
  #summary = byId("summary");
  #readAs = byId("read-as");
  #degraded = byId("degraded");
  #timing = byId("timing");
  #grid = byId("grid");
  #pager = byId("pager");
  #previous = byId("previous");
  #next = byId("next");
  #page = byId("page");
  #failure = byId("failure");

  /** `onPage(step)` runs with -1 or 1 when the user turns the page. */
  constructor(onPage) {
    this.#previous.addEventListener("click", () => onPage(-1));
    this.#next.addEventListener("click", () => onPage(1));
    this.#grid.addEventListener("keydown", (event) => this.#move(event));
    this.#grid.addEventListener("focusin", (event) => this.#roam(event.target.closest(".card")));
  }

  /** Before the first search, and after the last part was taken away. */
  showEmpty() {
    this.#clear("empty");
    this.#live.textContent = "";
  }

  /** Every part is negative: there is nothing to look for yet. */
  showOnlyNegative() {
    this.#clear("negative");
    this.#live.textContent = "Every part pushes away; add one to look for.";
  }

  /** Earlier hits stay, dimmed, so that the page does not jump. */
  showLoading() {
    setError(this.#failure, null);
    this.#region.setAttribute("aria-busy", "true");
    this.#live.textContent = "Searching";
    if (this.#grid.childElementCount > 0 && this.#region.dataset.state === "hits") return;
    this.#clear("loading");
    this.#region.setAttribute("aria-busy", "true");
    this.#grid.replaceChildren(...Array.from({ length: SKELETONS }, skeleton));
  }

  /** @param {Object} response see api.js; `parts` are the parts sent, `offset` and `limit` the page asked for */
  showHits(response, parts, offset, limit) {
    const { hits, candidates } = response;
    this.#clear(hits.length ? "hits" : "nothing");
    const last = offset + hits.length;
    const found = Math.max(candidates, last);
    this.#summary.textContent = hits.length ? rangeOf(offset, last, found) : "Nothing found";
    this.#live.textContent = hits.length
      ? `${resultCount(hits.length)} in ${formatMs(response.totalMs)}. First: ${hits[0].item.title}.`
      : "Nothing found.";
    this.#readAs.replaceChildren(...response.parts.map((info, index) => readAs(info, parts[index])));
    this.#readAs.hidden = response.parts.length === 0;
    this.#showDegraded(response.degraded);
    drawTiming(this.#timing, response.stages, response.totalMs);
    this.#grid.replaceChildren(...hits.map((hit, index) => hitCard(hit, offset + index + 1)));
    this.#roam(this.#grid.querySelector(".card"));
    this.#pager.hidden = offset === 0 && last >= found;
    this.#previous.disabled = offset === 0;
    this.#next.disabled = hits.length < limit || last >= found;
    this.#page.textContent = `Page ${Math.floor(offset / limit) + 1}`;
  }

  /** A failure of the whole request, or null when it stands at its part already. */
  showFailure(error) {
    this.#clear(error ? "" : "failed");
    setError(this.#failure, error);
    this.#live.textContent = error ? "" : "The search was refused; the reason stands beside the part.";
  }

  /** The user stopped the search. */
  showStopped() {
    this.#region.setAttribute("aria-busy", "false");
    if (this.#region.dataset.state === "loading") this.showEmpty();
    this.#live.textContent = "Search stopped";
  }

  #clear(state) {
    this.#region.dataset.state = state;
    this.#region.setAttribute("aria-busy", "false");
    for (const name of NOTICES) byId(`state-${name}`).hidden = name !== state;
    setError(this.#failure, null);
    this.#summary.textContent = "";
    this.#readAs.hidden = true;
    this.#timing.hidden = true;
    this.#degraded.hidden = true;
    this.#pager.hidden = true;
    this.#grid.replaceChildren();
    releaseAll();
  }

  #showDegraded(reasons) {
    this.#degraded.hidden = reasons.length === 0;
    this.#degraded.replaceChildren(
      h("strong", {}, "Answered in part. "),
      "These stages failed or were cut short: ",
      reasons.join("; "),
      ".",
    );
  }

  /** One card is in the tab order; the arrows reach the others. */
  #roam(card) {
    if (card === null) return;
    for (const other of this.#grid.querySelectorAll(".card[tabindex='0']")) other.tabIndex = -1;
    card.tabIndex = 0;
  }

  #move(event) {
    if (!event.target.classList.contains("card")) return; // players and sliders need their own arrows
    const cards = [...this.#grid.querySelectorAll(".card")];
    const at = cards.indexOf(event.target);
    const columns = cards.filter((card) => card.offsetTop === cards[0].offsetTop).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    let to;
    if (event.key in steps) to = at + steps[event.key];
    else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = cards.length - 1;
    else if (event.key === "Enter") {
      event.preventDefault(); // or the same key press would go on to the dialog's close button
      event.target.querySelector(".why").click();
      return;
    } else return;
    event.preventDefault();
    cards[to]?.focus();
  }
}

function rangeOf(offset, last, found) {
  if (offset === 0 && last === found) return resultCount(found);
  return `${formatCount(offset + 1)}–${formatCount(last)} of ${formatCount(found)} results`;
}

const resultCount = (count) => (count === 1 ? "1 result" : `${formatCount(count)} results`);

function readAs(info, part) {
  const kind = [MODALITY_NAMES[info.modality] ?? "unknown", info.format].filter(Boolean);
  const name = part?.file ? part.file.name : `“${shorten(part?.text ?? "")}”`;
  return h(
    "li",
    {},
    h("span", { class: "read-name" }, name),
    ` read as ${[...new Set(kind)].join(", ")}`,
    info.transcript && h("span", {}, ", heard ", h("q", {}, info.transcript)),
    info.cached && h("span", { class: "muted" }, " (from cache)"),
  );
}

function shorten(text) {
  return text.length > SHOWN_TEXT ? `${text.slice(0, SHOWN_TEXT)}…` : text;
}

function skeleton() {
  return h("li", { "aria-hidden": "true" }, h("div", { class: "card skeleton" }, h("div", { class: "card-picture" })));
}
