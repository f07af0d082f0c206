// Where pictures, sounds and videos come from. An element's own request carries no header, so with a key the bytes are
// fetched here and shown from memory: a key in an address would stand in histories and logs.

import { h } from "./dom.js";
import { currentKey, keyHeaders } from "./key.js";

const NEAR = "200px";

let addresses = new Map(); // url -> promise of an object URL
const waiting = new WeakMap(); // picture -> url, until it comes near

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      load(target, waiting.get(target));
    }
  },
  { rootMargin: NEAR },
);

/** Whether an element can be given `url` as it is. */
export const isDirect = (url) => url.startsWith("blob:") || currentKey() === "";

/** A picture that is loaded when it comes near; it tells of a failure by its event `error`, as always. */
export function picture(url, alt) {
  const image = h("img", { src: isDirect(url) && url, alt, loading: "lazy", decoding: "async" });
  if (!isDirect(url)) {
    waiting.set(image, url);
    near.observe(image);
  }
  return image;
}

/** Give an element its source, where it has none yet; its position stays. */
export async function load(element, url) {
  if (element.getAttribute("src")) return;
  try {
    const address = await addressOf(url);
    if (element.getAttribute("src")) return;
    const atS = element.currentTime;
    element.src = address;
    if (atS) element.currentTime = atS;
  } catch {
    element.dispatchEvent(new Event("error"));
  }
}

/** Let go of everything that was fetched: the elements that showed it are gone. */
export function releaseAll() {
  for (const address of addresses.values()) address.then(URL.revokeObjectURL, () => {});
  addresses = new Map();
}

function addressOf(url) {
  if (isDirect(url)) return Promise.resolve(url);
  if (!addresses.has(url)) addresses.set(url, fetched(url));
  return addresses.get(url);
}

async function fetched(url) {
  const response = await fetch(url, { headers: keyHeaders() });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return URL.createObjectURL(await response.blob());
}
