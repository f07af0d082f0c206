// Where the time of a search went: one stacked bar, its legend and the total.

import { h } from "./dom.js";
import { formatMs } from "./format.js";

const COLOURS = 8; // .stage-0 .. .stage-7 in results.css

/** Draw the stages into `root`. What the stages do not account for is shown as "other". */
export function drawTiming(root, stages, totalMs) {
  const sum = stages.reduce((total, stage) => total + stage.ms, 0);
  const rest = totalMs - sum;
  const shown = rest > 0.05 ? [...stages, { stage: "other", ms: rest }] : stages;
  root.hidden = shown.length === 0;
  const said = shown.map(({ stage, ms }) => `${stage} ${formatMs(ms)}`).join(", ");
  root.replaceChildren(
    h("h3", { class: "timing-title" }, "Time per stage ", h("strong", {}, formatMs(totalMs))),
    h(
      "div",
      { class: "stack", role: "img", "aria-label": `Total ${formatMs(totalMs)}: ${said}` },
      ...shown.map(({ stage, ms }, index) => {
        const segment = h("span", { class: colour(stage, index), title: `${stage} ${formatMs(ms)}` });
        segment.style.flexGrow = String(ms);
        return segment;
      }),
    ),
    // The bar's label already says all of it.
    h(
      "ul",
      { class: "legend", "aria-hidden": "true" },
      ...shown.map(({ stage, ms }, index) =>
        h("li", {}, h("span", { class: `swatch ${colour(stage, index)}` }), `${stage} `, h("b", {}, formatMs(ms))),
      ),
    ),
  );
}

const colour = (stage, index) => (stage === "other" ? "stage-other" : `stage-${index % COLOURS}`);
