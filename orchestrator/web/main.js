// Wires the page: what the user does becomes a query, a query becomes one search, and only the newest search counts.

import { search, SearchError, status } from "./api.js";
import { byId, h } from "./dom.js";
import { mountDrop, mountPaste } from "./drop.js";
import { setError } from "./errors.js";
import { answered, currentUser, mountFeedback } from "./feedback.js";
import { mountExplanation } from "./explain.js";
import { FilterPanel } from "./filters.js";
import { formatCount } from "./format.js";
import { icon } from "./icons.js";
import { mountKey } from "./key.js";
import { PartList } from "./parts.js";
import { fromParams, orderedParts, toParams, toRequest } from "./query.js";
import { RecordPanel } from "./record-panel.js";
import { Results } from "./results.js";
import { mountTheme } from "./theme.js";

const SETTLE_MS = 200; // a slider moved by keys fires for every step
const REMEMBERED_PARTS = 64;
const EXAMPLES = [
  { label: "a green frog", parts: [{ text: "a green frog", weight: 1 }] },
  { label: "red mug", parts: [{ text: "red mug", weight: 1 }] },
  { label: "something that makes music", parts: [{ text: "something that makes music", weight: 1 }] },
  {
    label: "a bird, less like a parrot",
    parts: [
      { text: "a bird", weight: 1 },
      { text: "a parrot", weight: -0.5 },
    ],
  },
];

const input = byId("q");
const inputError = byId("q-error");
const parts = new PartList(byId("parts"), () => settle());
const filters = new FilterPanel(() => settle());
const results = new Results((step) => turnPage(step));
const recorder = new RecordPanel(
  {
    button: byId("record"),
    panel: byId("recording"),
    level: byId("recording-level"),
    time: byId("recording-time"),
    stop: byId("recording-stop"),
    cancel: byId("recording-cancel"),
    error: inputError,
  },
  (file) => parts.addFiles([file]),
);

let running = null; // AbortController of the newest search
let settling = 0; // timer of a change that has not been searched yet
let offset = 0;
const remembered = new Map(); // part id -> part, so that going back in history finds its files again

function settle() {
  clearTimeout(settling);
  settling = setTimeout(() => run({ from: 0 }), SETTLE_MS);
}

/** Search for what the page holds now; `keepAddress` when the address already says it. */
async function run({ from, keepAddress = false }) {
  clearTimeout(settling);
  running?.abort();
  running = null;
  const options = filters.options;
  const sent = orderedParts(input.value, parts.parts);
  parts.showError(null, null);
  setError(inputError, null);
  input.removeAttribute("aria-invalid");
  if (!filters.validate()) return;
  offset = from;
  if (!keepAddress) writeAddress(options);
  document.title = sent.length ? `${title(sent)} – Sensorium` : "Sensorium";
  if (sent.length === 0) {
    results.showEmpty();
    return;
  }
  if (sent.every((part) => part.weight < 0)) {
    results.showOnlyNegative();
    return;
  }
  const mine = new AbortController();
  running = mine;
  results.showLoading();
  try {
    const response = await search(toRequest(sent, options, offset, currentUser()), sent, mine.signal);
    if (running !== mine) return;
    filters.suggest(response.hits.map((hit) => hit.item));
    answered(response.requestId, response.hits, offset);
    results.showHits(response, sent, offset, options.limit);
  } catch (error) {
    if (running !== mine) return; // aborted: a newer search, or the user, took over
    if (!(error instanceof SearchError)) throw error;
    showError(error, sent);
  } finally {
    if (running === mine) running = null;
  }
}

/** An error stands beside its part; one about the whole request stands above the results. */
function showError(error, sent) {
  const part = error.part === null ? undefined : sent[error.part];
  if (part === undefined) {
    results.showFailure(error);
    return;
  }
  results.showFailure(null);
  if (part.id === null) {
    setError(inputError, error);
    input.setAttribute("aria-invalid", "true");
    inputError.scrollIntoView({ block: "nearest" });
  } else {
    parts.showError(part.id, error);
  }
}

function stop() {
  clearTimeout(settling);
  running?.abort();
  running = null;
  results.showStopped();
}

function turnPage(step) {
  run({ from: Math.max(0, offset + step * filters.options.limit) });
  byId("results").focus({ preventScroll: true });
  byId("results").scrollIntoView({ block: "start" });
}

function title(sent) {
  const texts = sent.filter((part) => part.text).map((part) => part.text);
  return texts.length ? texts[0] : sent[0].file.name;
}

// ---- the address bar ----

function writeAddress(options) {
  const chips = parts.parts;
  const params = toParams(input.value, chips, options, offset).toString();
  const address = params ? `?${params}` : location.pathname;
  const state = remember(chips);
  const unchanged = address === (location.search || location.pathname) && sameChips(state, history.state);
  if (unchanged) history.replaceState(state, "", address);
  else history.pushState(state, "", address);
}

/** Keep the parts for the way back; a history entry itself holds only what tells them apart. */
function remember(chips) {
  for (const part of chips) {
    remembered.delete(part.id);
    remembered.set(part.id, { ...part });
  }
  while (remembered.size > REMEMBERED_PARTS) remembered.delete(remembered.keys().next().value);
  return { chips: chips.map(({ id, weight, file }) => ({ id, weight, isFile: Boolean(file) })) };
}

const sameChips = (a, b) => JSON.stringify(a?.chips ?? []) === JSON.stringify(b?.chips ?? []);

function readAddress(state) {
  const query = fromParams(new URLSearchParams(location.search));
  input.value = query.text;
  showTextActions();
  filters.options = query.options;
  const known = (state?.chips ?? []).map(({ id, weight }) => {
    const part = remembered.get(id);
    return part && { ...part, weight };
  });
  const whole = known.length > 0 && known.every(Boolean);
  parts.replace(whole ? known : query.texts.map((part) => ({ id: crypto.randomUUID(), ...part })));
  history.replaceState(remember(parts.parts), "");
  const lost = !whole && (state?.chips ?? []).some(({ isFile }) => isFile);
  const ran = run({ from: query.offset, keepAddress: true });
  if (lost) setError(inputError, { message: "Files do not outlive a reload: add them again to search with them." });
  return ran;
}

// ---- what the user does ----

function showTextActions() {
  byId("text-actions").hidden = input.value.trim() === "";
}

function keepText(weight) {
  const text = input.value.trim();
  input.value = "";
  showTextActions();
  input.focus();
  parts.addText(text, weight);
}

function openFilters(open) {
  byId("filters").classList.toggle("open", open);
  byId("filter-toggle").setAttribute("aria-expanded", String(open));
}

function onKey(event) {
  const typing = event.target.closest?.("input:not([type=range], [type=checkbox]), textarea, select, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    input.focus();
    input.select();
  } else if (event.key === "Escape" && !byId("explanation").open) {
    if (recorder.active) recorder.cancel();
    else if (running) stop();
    else if (byId("filters").classList.contains("open")) {
      openFilters(false);
      byId("filter-toggle").focus();
    } else return;
    event.preventDefault();
  }
}

function mount() {
  const picker = byId("files");
  byId("pick").append(icon("attach"));
  byId("record").append(icon("mic"));
  byId("theme").prepend(icon("theme"));
  byId("filter-toggle").prepend(icon("filter"));
  byId("explanation-close").append(icon("close"));
  byId("examples").append(
    ...EXAMPLES.map(({ label, parts: example }) =>
      h("li", {}, h("button", { type: "button", class: "quiet", on: { click: () => runExample(example) } }, label)),
    ),
  );
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    run({ from: 0 });
  });
  input.addEventListener("input", showTextActions);
  byId("add-text").addEventListener("click", () => keepText(1));
  byId("exclude-text").addEventListener("click", () => keepText(-1));
  byId("pick").addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    parts.addFiles([...picker.files]);
    picker.value = ""; // so that the same file can be picked again
  });
  byId("filter-toggle").addEventListener("click", () => openFilters(!byId("filters").classList.contains("open")));
  document.addEventListener("keydown", onKey);
  window.addEventListener("popstate", (event) => readAddress(event.state));
  mountDrop(byId("drop"), (files) => parts.addFiles(files));
  mountPaste((files) => parts.addFiles(files));
  mountTheme(byId("theme"), byId("theme-label"));
  mountExplanation();
  mountKey(() => {
    showStatus();
    run({ from: offset, keepAddress: true });
  });
  mountFeedback(byId("learn"), byId("forget"), () => run({ from: 0 }));
}

function runExample([first, ...others]) {
  input.value = first.text;
  showTextActions();
  parts.replace(others.map((part) => ({ id: crypto.randomUUID(), ...part })));
  input.focus();
  return run({ from: 0 });
}

async function showStatus() {
  try {
    const { items, profile } = await status();
    byId("status").textContent = [`${formatCount(items)} items`, profile].filter(Boolean).join(", ");
  } catch (error) {
    if (!(error instanceof SearchError)) throw error;
    byId("status").textContent = "Status unknown";
  }
}

mount();
readAddress(history.state);
showStatus();
