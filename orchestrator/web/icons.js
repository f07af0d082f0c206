// Line icons as path data, on a 24 x 24 grid. Built as nodes: an external sprite would need its own CSP source.

import { svg } from "./dom.js";

const PATHS = {
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM20 20l-4.9-4.9",
  attach: "M12 16V5M7.5 9 12 4.5 16.5 9M5 15.5V19h14v-3.5",
  mic: "M12 14.5a3 3 0 0 0 3-3v-5a3 3 0 0 0-6 0v5a3 3 0 0 0 3 3zM6 11.5a6 6 0 0 0 12 0M12 17.5V21",
  close: "M6 6l12 12M18 6 6 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8.5 5.5v13M15.5 5.5v13",
  stop: "M7 7h10v10H7z",
  text: "M5 7V5.5h14V7M12 5.5v13M9.5 18.5h5",
  image: "M4 5.5h16v13H4zM4 16l4.5-4.5 3.5 3.5 3-3 5 5M15.5 9.5h.01",
  audio: "M5 10v4M9 7v10M13 4.5v15M17 8v8M21 10.5v3",
  video: "M4 6h11v12H4zM15 10.5 20.5 7v10L15 13.5",
  file: "M6.5 3.5h7L18 8v12.5H6.5zM13.5 3.5V8H18",
  theme: "M12 3.5a8.5 8.5 0 1 0 0 17zM12 3.5a8.5 8.5 0 0 1 0 17",
  filter: "M4 7h16M7 12h10M10 17h4",
};

/** A decorative icon; whatever carries it has its own label. */
export function icon(name) {
  const filled = name === "play" || name === "stop";
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", {
      d: PATHS[name],
      fill: filled ? "currentColor" : "none",
      stroke: "currentColor",
      "stroke-width": 1.75,
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
    }),
  );
}
