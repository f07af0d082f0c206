// What the user opens, told to the server: only when they asked for it, under a random name that only this browser
// knows, and forgotten on both sides when they say so.

import { keyHeaders } from "./key.js";

const KEY = "user";
const LEAST_DWELL_MS = 1000;
const MOST_DWELL_MS = 3_600_000;

let shown = { requestId: "", positions: new Map() };
let opened = null; // { itemId, requestId, position, atMs } of the item that is being looked at

/** The random name, or "" when the user does not want to be learned from. */
export function currentUser() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // storage is refused
  }
}

/** Wire the switch and the button that forgets; `onChange` runs when answers may differ from now on. */
export function mountFeedback(box, forget, onChange) {
  const show = () => {
    box.checked = currentUser() !== "";
    forget.hidden = !box.checked;
  };
  box.addEventListener("change", async () => {
    if (box.checked) start();
    else await erase();
    show();
    onChange();
  });
  forget.addEventListener("click", async () => {
    await erase();
    start();
    show();
    onChange();
  });
  // A page that goes away still says how long it was looked at.
  window.addEventListener("pagehide", () => close());
  show();
}

/** From now on, events are about this answer; positions count from 1 over all pages. */
export function answered(requestId, hits, offset) {
  close();
  shown = { requestId, positions: new Map(hits.map((hit, index) => [hit.item.id, offset + index + 1])) };
}

/** The user opened an item of the answer. */
export function open(itemId) {
  close();
  const position = shown.positions.get(itemId);
  if (position === undefined || currentUser() === "") return;
  opened = { itemId, requestId: shown.requestId, position, atMs: performance.now() };
  send({ kind: "CLICK", itemId, requestId: shown.requestId, position });
}

/** The user left it. */
export function close() {
  if (opened === null) return;
  const { atMs, ...event } = opened;
  opened = null;
  const dwellMs = Math.min(performance.now() - atMs, MOST_DWELL_MS);
  if (dwellMs >= LEAST_DWELL_MS) send({ kind: "DWELL", dwellMs, ...event });
}

function send(event) {
  const user = currentUser();
  if (user === "") return;
  fetch("/v1/feedback", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...keyHeaders() },
    body: JSON.stringify({ user, events: [event] }),
    keepalive: true,
  }).catch(() => {
    // Feedback that is lost costs the user nothing.
  });
}

function start() {
  try {
    localStorage.setItem(KEY, crypto.randomUUID());
  } catch {
    // Storage is refused: nothing is learned.
  }
}

async function erase() {
  const user = currentUser();
  opened = null;
  if (user === "") return;
  localStorage.removeItem(KEY);
  await fetch(`/v1/users/${encodeURIComponent(user)}`, { method: "DELETE", headers: keyHeaders() }).catch(() => {
    // Unreachable: the name is gone from here all the same, and what is kept under it runs out.
  });
}
