// Sound and video that start at the matching moment. Nothing is fetched before somebody presses play.

import { h } from "./dom.js";
import { formatClock, formatSpan } from "./format.js";
import { icon } from "./icons.js";
import { isDirect, load, picture } from "./source.js";

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
  const audio = h("audio", { preload: "none", src: isDirect(url) && url });
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
  button.addEventListener("click", () => toggle(audio, url));
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

/** A video with the browser's own controls. */
export function videoPlayer({ url, label, startS = 0 }) {
  const video = h("video", {
    class: "video",
    src: isDirect(url) && url,
    controls: true,
    playsinline: true,
    preload: "metadata",
    "aria-label": label,
  });
  video.currentTime = startS;
  video.addEventListener("error", () => showUnplayable(video, url));
  load(video, url);
  return video;
}

/**
 * A video as a still picture with one button, which puts the player in its place: the browser's controls would
 * hide half of a picture this small.
 * @param {Object} source
 * @param {string} source.url
 * @param {string} source.still
 * @param {string} source.label what is seen, for the button's name
 * @param {{startS: number, endS: number}|null} source.moment the matching moment, if it is a part of the whole
 */
export function videoStill({ url, still, label, moment }) {
  const frame = h("div", { class: "still" });
  const play = () => {
    const video = videoPlayer({ url, label, startS: moment?.startS ?? 0 });
    frame.replaceChildren(video);
    video.focus();
    start(video, url);
  };
  const button = moment
    ? momentButton(moment, label, play)
    : h(
        "button",
        { type: "button", class: "quiet moment", "aria-label": `Play ${label}`, on: { click: play } },
        icon("play"),
        "Play",
      );
  frame.append(picture(still, ""), button);
  return frame;
}

/** A sound player with a button that jumps to the matching moment. */
export function soundAtMoment(source, moment) {
  const player = soundPlayer({ ...source, startS: moment.startS, endS: moment.endS });
  const jump = () => {
    const audio = player.querySelector("audio");
    audio.currentTime = moment.startS;
    start(audio, source.url);
  };
  return [player, momentButton(moment, source.label, jump)];
}

/** The moment, unless it is the whole of a medium or no stretch of time at all. */
export function partOf(moment, durationS) {
  const whole = moment.startS < 0.05 && (durationS === 0 || moment.endS > durationS - 0.05);
  return whole || moment.endS <= moment.startS ? null : moment;
}

function momentButton(moment, label, onClick) {
  const span = formatSpan(moment.startS, moment.endS);
  const name = `Play the matching moment of the ${label}, ${span}`;
  return h(
    "button",
    { type: "button", class: "quiet moment", "aria-label": name, on: { click: onClick } },
    icon("play"),
    `Match ${span}`,
  );
}

async function start(media, url) {
  await load(media, url);
  media.play().catch(() => {}); // the element's error event tells the user
}

function toggle(media, url) {
  if (media.paused) start(media, url);
  else media.pause();
}

function showUnplayable(element, url) {
  element.replaceWith(
    h("p", { class: "unplayable" }, "This browser cannot play it. ", h("a", { href: element.src || element.querySelector?.("audio")?.src || url, download: true }, "Download")),
  );
}
