// The key that a guarded server wants: kept for this tab alone, sent as a header and never in an address.

import { byId } from "./dom.js";

const KEY = "key";

/** What every request carries; nothing while there is no key. */
export function keyHeaders() {
  const key = currentKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** The key, or "" when there is none. */
export function currentKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // storage is refused
  }
}

/** The server said that it wants a key, or another one. */
export function askForKey() {
  show(true);
}

/** Wire the form; `onChange` runs when there is another key, or none any more. */
export function mountKey(onChange) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key").value.trim();
    byId("key").value = "";
    if (!/^[\x21-\x7e]+$/.test(key)) return; // a header can hold no other characters
    keep(key);
    show(false);
    onChange();
  });
  byId("key-forget").addEventListener("click", () => {
    keep("");
    show(true);
    onChange();
  });
  show(false);
}

function keep(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is refused: the server will ask again.
  }
}

function show(asking) {
  byId("key-form").hidden = !asking;
  byId("key-forget").hidden = asking || currentKey() === "";
}
