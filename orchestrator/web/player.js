// Sound and video that start at the matching moment. Nothing is fetched before somebody presses play.

import { h } from "./dom.js";
import { formatClock, formatSpan } from "./format.js";
import { icon } from "./icons.js";

/** Moving pictures that browsers show in an image element, not in a video element. */
export const PICTURE_FORMATS = new Set(["gif", "webp"]);

// One at a time: two sounds at once help nobody.
document.addEventListener(
  "play",
  ({ target }) => {
    for (const other of document.querySelectorAll("audio, video")) if (other !== target) other.pause();
  },
  true,
);

/**
 * A compact sound player: button, position, time.
 * @param {Object} source
 * @param {string} source.url
 * @param {string} source.label what is heard, for the button's name
 * @param {number} [source.durationS] 0 when unknown until it is loaded
 * @param {number} [source.startS] where the first play begins
 * @param {number} [source.endS] end of the matching moment; equal to startS when there is none
 */
export function soundPlayer({ url, label, durationS = 0, startS = 0, endS = startS }) {
  const audio = h("audio", { preload: "none", src: url });
  const button = h("button", { type: "button", class: "icon-button play" }, icon("play"));
  const position = h("input", {
    type: "range",
    class: "position",
    min: 0,
    max: durationS || 1,
    step: 0.1,
    value: startS,
    "aria-label": `Position in ${label}`,
  });
  const time = h("span", { class: "time" });
  const mark = h("span", { class: "match-mark", hidden: true });
  const player = h("div", { class: "player" }, audio, button, h("span", { class: "track" }, mark, position), time);
  let seconds = startS;
  let length = durationS;

  const show = () => {
    position.value = String(seconds);
    position.setAttribute("aria-valuetext", formatClock(seconds));
    time.textContent = length ? `${formatClock(seconds)} / ${formatClock(Math.ceil(length))}` : formatClock(seconds);
  };
  const setLength = (value) => {
    if (!Number.isFinite(value) || value <= 0) return;
    length = value;
    position.max = String(value);
    if (endS > startS) {
      mark.hidden = false;
      mark.style.left = `${(100 * startS) / value}%`;
      mark.style.width = `${(100 * (Math.min(endS, value) - startS)) / value}%`;
    }
    show();
  };
  const label_ = () => {
    button.replaceChildren(icon(audio.paused ? "play" : "pause"));
    const from = seconds > 0 ? ` from ${formatClock(seconds)}` : "";
    button.setAttribute("aria-label", audio.paused ? `Play ${label}${from}` : `Pause ${label}`);
  };

  audio.currentTime = startS;
  audio.addEventListener("loadedmetadata", () => setLength(audio.duration));
  audio.addEventListener("timeupdate", () => {
    seconds = audio.currentTime;
    show();
  });
  audio.addEventListener("play", label_);
  audio.addEventListener("pause", label_);
  audio.addEventListener("ended", () => {
    audio.currentTime = startS;
  });
  audio.addEventListener("error", () => showUnplayable(player, url));
  button.addEventListener("click", () => toggle(audio));
  position.addEventListener("input", () => {
    seconds = Number(position.value);
    audio.currentTime = seconds;
    show();
  });
  setLength(durationS);
  show();
  label_();
  return player;
}

/** A video with the browser's own controls, standing at the matching moment. */
export function videoPlayer({ url, label, poster = null, startS = 0 }) {
  const video = h("video", {
    class: "video",
    src: url,
    poster,
    controls: true,
    playsinline: true,
    preload: "none",
    "aria-label": label,
  });
  video.currentTime = startS;
  video.addEventListener("error", () => showUnplayable(video, url));
  return video;
}

/** A button that jumps to the matching moment of the media element inside `holder` and plays it. */
export function momentButton(holder, moment, label) {
  const span = formatSpan(moment.startS, moment.endS);
  return h(
    "button",
    {
      type: "button",
      class: "quiet moment",
      "aria-label": `Play the matching moment of ${label}, ${span}`,
      on: {
        click: () => {
          const media = holder.querySelector("audio, video");
          if (media === null) return; // it could not be played and gave way to a link
          media.currentTime = moment.startS;
          media.play().catch(() => {}); // the element's error event tells the user
        },
      },
    },
    icon("play"),
    `Match ${span}`,
  );
}

function toggle(media) {
  if (media.paused) media.play().catch(() => {}); // the element's error event tells the user
  else media.pause();
}

function showUnplayable(element, url) {
  element.replaceWith(
    h("p", { class: "unplayable" }, "This browser cannot play it. ", h("a", { href: url, download: true }, "Download")),
  );
}
