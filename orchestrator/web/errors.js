// How a typed error reads beside the thing that is wrong.

import { h } from "./dom.js";
import { formatLimit, MODALITY_NAMES } from "./format.js";

/** The message, then what was found and which limit was passed. */
export function errorNodes(error) {
  const details = [];
  if (error.kind) details.push(`Found: ${MODALITY_NAMES[error.kind] ?? error.kind}`);
  if (error.limit) details.push(`Limit: ${formatLimit(error.limit)}`);
  return [
    h("span", { class: "error-message" }, sentence(error.message)),
    details.length > 0 && h("span", { class: "error-details" }, details.join(" · ")),
  ].filter(Boolean);
}

/** The API's messages begin small and end without a stop, as a part of a log line would. */
function sentence(message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Show an error in its place, or take it away with null. */
export function setError(slot, error) {
  slot.replaceChildren(...(error ? errorNodes(error) : []));
  slot.hidden = !error;
}
