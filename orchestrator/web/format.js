// How values are written for people.

/** Names of the modalities as the page says them. */
export const MODALITY_NAMES = { TEXT: "text", IMAGE: "image", AUDIO: "sound", VIDEO: "video" };

const price = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const count = new Intl.NumberFormat("en");

export const formatPrice = (value) => price.format(value);
export const formatCount = (value) => count.format(value);
export const formatScore = (value) => value.toFixed(2);

/** Milliseconds: one decimal below 100, none above. */
export function formatMs(ms) {
  return `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** Seconds as m:ss. */
export function formatClock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A stretch of a recording, to a tenth of a second where it is shorter than ten. */
export function formatSpan(startS, endS) {
  if (endS <= startS) return formatClock(startS);
  if (endS - startS < 10 && endS < 60) return `${startS.toFixed(1)}–${endS.toFixed(1)} s`;
  return `${formatClock(startS)}–${formatClock(endS)}`;
}

/** Bytes in binary units. */
export function formatBytes(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 10 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A limit as the server names it ("max_bytes=26214400"), with bytes made readable. */
export function formatLimit(limit) {
  const [name, value] = limit.split("=", 2);
  if (name.endsWith("_bytes") && /^\d+$/.test(value ?? "")) return `${formatBytes(Number(value))} (${name})`;
  return limit;
}
