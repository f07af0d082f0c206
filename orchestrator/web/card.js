// One hit as a card of the grid.

import { mediaUrl, thumbnailUrl } from "./api.js";
import { h } from "./dom.js";
import { bar, openExplanation } from "./explain.js";
import { formatPrice, formatScore, MODALITY_NAMES } from "./format.js";
import { icon } from "./icons.js";
import { momentButton, PICTURE_FORMATS, soundPlayer, videoPlayer } from "./player.js";

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
      picture(item, moment, title),
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
        sound(item, moment, title),
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

function picture(item, moment, title) {
  const video = item.media.find(
    ({ index, modality, format }) =>
      modality === "VIDEO" && !PICTURE_FORMATS.has(format) && (moment?.modality !== "VIDEO" || index === moment.mediaIndex),
  );
  const frame = h("div", { class: "card-picture" });
  if (video) {
    const matched = moment?.modality === "VIDEO" ? moment : null;
    frame.append(
      videoPlayer({
        url: mediaUrl(item.id, video.index),
        label: `Video of ${title}`,
        poster: thumbnailUrl(item.id),
        startS: matched?.startS ?? 0,
      }),
    );
    if (matched) frame.append(momentButton(frame, matched, `the video of ${title}`));
  } else if (item.media.length > 0) {
    const image = h("img", { src: thumbnailUrl(item.id), alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.replaceWith(icon("image")));
    frame.append(image);
  } else {
    frame.append(icon("text"));
  }
  return frame;
}

function sound(item, moment, title) {
  const matched = moment?.modality === "AUDIO" ? moment : null;
  const audio = item.media.find(
    ({ index, modality }) => modality === "AUDIO" && (matched === null || index === matched.mediaIndex),
  );
  if (!audio) return null;
  const holder = h("div", { class: "card-sound" });
  holder.append(
    soundPlayer({
      url: mediaUrl(item.id, audio.index),
      label: `sound of ${title}`,
      durationS: audio.durationS,
      startS: matched?.startS ?? 0,
      endS: matched?.endS ?? 0,
    }),
  );
  if (matched) holder.append(momentButton(holder, matched, `the sound of ${title}`));
  return holder;
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
