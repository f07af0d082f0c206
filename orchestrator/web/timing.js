// Where the time of a search went: one stacked bar, its legend and the total.

import { h } from "./dom.js";
import { formatMs } from "./format.js";

const COLOURS = 9; // .stage-0 .. .stage-8 in results.css

/**
 * Draw the stages into `root`. A name with a slash ("embed/triton") is a share of the stage before the slash and
 * stands with it in the legend; what no stage accounts for is shown as "other".
 */
export function drawTiming(root, stages, totalMs) {
  const shown = nest(stages);
  const rest = totalMs - shown.reduce((total, { ms }) => total + ms, 0);
  if (rest > 0.05 && shown.length > 0) shown.push({ stage: "other", ms: rest, shares: [] });
  root.hidden = shown.length === 0;
  root.replaceChildren(
    h("h3", { class: "timing-title" }, "Time per stage ", h("strong", {}, formatMs(totalMs))),
    h(
      "div",
      { class: "stack", role: "img", "aria-label": `Total ${formatMs(totalMs)}: ${shown.map(inWords).join("; ")}` },
      ...shown.map((entry, index) => {
        const segment = h("span", { class: colour(entry.stage, index), title: inWords(entry) });
        segment.style.flexGrow = String(entry.ms);
        return segment;
      }),
    ),
    // The bar's label already says all of it.
    h(
      "ul",
      { class: "legend", "aria-hidden": "true" },
      ...shown.map(({ stage, ms, shares }, index) =>
        h(
          "li",
          {},
          h("span", { class: `swatch ${colour(stage, index)}` }),
          `${stage} `,
          h("b", {}, formatMs(ms)),
          shares.length > 0 && ` (${shares.map((share) => `${share.name} ${formatMs(share.ms)}`).join(", ")})`,
        ),
      ),
    ),
  );
}

function nest(stages) {
  const top = stages.filter(({ stage }) => !stage.includes("/"));
  return top.map(({ stage, ms }) => ({
    stage,
    ms,
    shares: stages
      .filter((other) => other.stage.startsWith(`${stage}/`))
      .map((other) => ({ name: other.stage.slice(stage.length + 1), ms: other.ms })),
  }));
}

function inWords({ stage, ms, shares }) {
  const parts = shares.map((share) => `${share.name} ${formatMs(share.ms)}`);
  return `${stage} ${formatMs(ms)}${parts.length ? `, of it ${parts.join(", ")}` : ""}`;
}

const colour = (stage, index) => (stage === "other" ? "stage-other" : `stage-${index % COLOURS}`);
