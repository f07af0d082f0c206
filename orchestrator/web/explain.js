// Why an item was found: every signal, from raw similarity to what it weighed, in a dialog.

import { mediaUrl } from "./api.js";
import { byId, h } from "./dom.js";
import { close, open } from "./feedback.js";
import { formatPrice, formatScore, formatSpan, MODALITY_NAMES } from "./format.js";
import { PICTURE_FORMATS, soundPlayer, videoPlayer } from "./player.js";
import { picture } from "./source.js";

/** Open the dialog for one hit; closing gives the focus back to what opened it. */
export function openExplanation(hit) {
  const dialog = byId("explanation");
  byId("explanation-title").textContent = hit.item.title || hit.item.id;
  byId("explanation-body").replaceChildren(...content(hit).filter(Boolean));
  dialog.showModal();
  open(hit.item.id);
  dialog.querySelector(".dialog-scroll").scrollTop = 0;
}

/** Wire the ways to close it; Escape is the browser's own. */
export function mountExplanation() {
  const dialog = byId("explanation");
  byId("explanation-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  dialog.addEventListener("close", () => {
    byId("explanation-body").replaceChildren(); // stops its sounds
    close();
  });
}

/** A horizontal bar for a value of 0..1; the number beside it carries the meaning. */
export function bar(value) {
  const fill = h("span", { class: "bar-fill" });
  fill.style.width = `${100 * Math.max(0, Math.min(1, value))}%`;
  return h("span", { class: "bar", "aria-hidden": "true" }, fill);
}

function content({ item, score, signals, moment, influences }) {
  return [
    item.description && h("p", { class: "description" }, item.description),
    facts(item, score, moment),
    h("h3", {}, "Signals"),
    signals.length > 0
      ? table(signals)
      : h("p", { class: "muted" }, "The server sent no signals for this item."),
    signals.length > 0 &&
      h(
        "p",
        { class: "muted" },
        "Similarity is the raw closeness of two vectors. The score calibrates it to a probability, so that kinds " +
          "compare. The weight is what it counted for in the fusion; a negative one pushes away.",
      ),
    ...changes(influences),
    ...media(item),
  ];
}

function facts(item, score, moment) {
  const rows = [
    ["Fused score", formatScore(score)],
    item.price !== null && ["Price", formatPrice(item.price)],
    ["Availability", item.available ? "Available" : "Not available"],
    item.category && ["Category", item.category],
    item.tags.length > 0 && ["Tags", item.tags.join(", ")],
    moment && ["Matching moment", `${MODALITY_NAMES[moment.modality] ?? "media"}, ${formatSpan(moment.startS, moment.endS)}`],
    ["Id", item.id],
  ].filter(Boolean);
  return h("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function table(signals) {
  const several = new Set(signals.map(({ part }) => part)).size > 1;
  const head = ["Query to item", "Space", "Similarity", "Score", "Weight"];
  const kind = (modality) => MODALITY_NAMES[modality] ?? "unknown";
  return h(
    "table",
    { class: "signals" },
    h("caption", { class: "visually-hidden" }, "Signals of this item"),
    h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      ...signals.map((signal) =>
        h(
          "tr",
          {},
          h(
            "th",
            { scope: "row" },
            `${several ? `${signal.part + 1}: ` : ""}${kind(signal.queryModality)} → ${kind(signal.itemModality)}`,
          ),
          h("td", {}, signal.space),
          h("td", { class: "number" }, signal.similarity.toFixed(3), bar(signal.similarity)),
          h("td", { class: "number" }, signal.score.toFixed(3), bar(signal.score)),
          h("td", { class: "number" }, signal.weight.toFixed(2)),
        ),
      ),
    ),
  );
}

function changes(influences) {
  if (influences.length === 0) return [];
  return [
    h("h3", {}, "What changed the score since"),
    h(
      "ul",
      { class: "influences" },
      ...influences.map(({ stage, detail, change }) =>
        h("li", {}, `${stage}: ${detail} `, h("span", { class: "number" }, `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(3)}`)),
      ),
    ),
  ];
}

function media(item) {
  const shown = item.media.filter(({ modality }) => modality !== "TEXT");
  if (shown.length === 0) return [];
  return [
    h("h3", {}, "Media"),
    h(
      "ul",
      { class: "media-list" },
      ...shown.map((entry) =>
        h(
          "li",
          {},
          h("span", { class: "muted" }, [MODALITY_NAMES[entry.modality], entry.format].filter(Boolean).join(", ")),
          medium(item, entry),
        ),
      ),
    ),
  ];
}

function medium(item, { index, modality, format, durationS }) {
  const url = mediaUrl(item.id, index);
  const label = `${MODALITY_NAMES[modality] ?? "media"} of ${item.title || item.id}`;
  if (modality === "AUDIO") return soundPlayer({ url, label, durationS });
  if (modality === "VIDEO" && !PICTURE_FORMATS.has(format)) return videoPlayer({ url, label });
  return picture(url, label);
}
