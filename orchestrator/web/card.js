// One hit as a card of the grid.

import { mediaUrl, thumbnailUrl } from "./api.js";
import { h } from "./dom.js";
import { bar, openExplanation } from "./explain.js";
import { formatPrice, formatScore, MODALITY_NAMES } from "./format.js";
import { icon } from "./icons.js";
import { partOf, PICTURE_FORMATS, soundAtMoment, soundPlayer, videoStill } from "./player.js";
import { picture as sourced } from "./source.js";

/** A list item; `rank` counts from 1 over all pages. */
export function hitCard(hit, rank) {
  const { item, score, moment } = hit;
  const titleId = `hit-${rank}`;
  const title = item.title || item.id;
  return h(
    "li",
    { dataset: { itemId: item.id } },
    h(
      "article",
      { class: "card", tabindex: -1, "aria-labelledby": titleId },
      picture(item, moment),
      h(
        "div",
        { class: "card-body" },
        h("h3", { id: titleId, class: "card-title", title }, title),
        h(
          "p",
          { class: "card-meta" },
          item.price !== null && h("span", { class: "price" }, formatPrice(item.price)),
          h("span", { class: item.available ? "available" : "unavailable" }, item.available ? "Available" : "Not available"),
        ),
        item.category && h("p", { class: "card-category" }, item.category),
        badges(item),
        sound(item, moment),
        h(
          "div",
          { class: "card-foot" },
          h("span", { class: "score" }, h("span", {}, "Score ", h("b", {}, formatScore(score))), bar(score)),
          h(
            "button",
            {
              type: "button",
              class: "quiet why",
              "aria-haspopup": "dialog",
              "aria-label": `Why ${title} was found`,
              on: { click: () => openExplanation(hit) },
            },
            "Why?",
          ),
        ),
      ),
    ),
  );
}

function picture(item, moment) {
  const video = pick(item, "VIDEO", moment, ({ format }) => !PICTURE_FORMATS.has(format));
  const still = thumbnailUrl(item.id);
  if (video) {
    const source = { url: mediaUrl(item.id, video.index), still, label: `video of ${item.title || item.id}` };
    return h("div", { class: "card-picture" }, videoStill({ ...source, moment: matchIn(video, moment) }));
  }
  if (item.media.length === 0) return h("div", { class: "card-picture" }, icon("text"));
  const image = sourced(still, "");
  image.addEventListener("error", () => image.replaceWith(icon("image")));
  return h("div", { class: "card-picture" }, image);
}

function sound(item, moment) {
  const audio = pick(item, "AUDIO", moment);
  if (!audio) return null;
  const { index, durationS } = audio;
  const source = { url: mediaUrl(item.id, index), label: `sound of ${item.title || item.id}`, durationS };
  const match = matchIn(audio, moment);
  return h("div", { class: "card-sound" }, ...(match ? soundAtMoment(source, match) : [soundPlayer(source)]));
}

/** The medium that holds the moment, else the first of its kind. */
function pick(item, modality, moment, suits = () => true) {
  const media = item.media.filter((medium) => medium.modality === modality && suits(medium));
  return media.find(({ index }) => moment?.modality === modality && index === moment.mediaIndex) ?? media[0];
}

function matchIn(medium, moment) {
  const here = moment?.modality === medium.modality && moment.mediaIndex === medium.index;
  return here ? partOf(moment, medium.durationS) : null;
}

function badges(item) {
  const has = new Set(item.media.map(({ modality }) => modality));
  if (item.title || item.description) has.add("TEXT");
  const shown = Object.keys(MODALITY_NAMES).filter((modality) => has.has(modality));
  return h(
    "ul",
    { class: "badges", "aria-label": "Kinds of content" },
    ...shown.map((modality) =>
      h("li", { class: "badge" }, icon(modality.toLowerCase()), MODALITY_NAMES[modality]),
    ),
  );
}
