// The query as data: its defaults, its place in the address bar, and the request made from it. No DOM here.

export const LIMITS = [12, 24, 48, 96];
export const MODALITIES = ["TEXT", "IMAGE", "AUDIO", "VIDEO"];
const DEFAULT_LIMIT = 24;
const DEFAULT_DIVERSITY = 0.5;
const MAX_WEIGHT = 10; // the API's bound

/**
 * @typedef {Object} Part one part of the query beside the search bar's own text
 * @property {string} id
 * @property {string} [text]
 * @property {File} [file]
 * @property {number} weight negative pushes away
 */

/** Filters and options as nobody has touched them. */
export function defaultOptions() {
  return {
    priceMin: null,
    priceMax: null,
    categories: [],
    tagsAny: [],
    tagsAll: [],
    availableOnly: false,
    targets: [],
    limit: DEFAULT_LIMIT,
    diversity: DEFAULT_DIVERSITY,
  };
}

/** How many filters and options differ from their defaults. */
export function countChanged(options) {
  const plain = defaultOptions();
  return Object.keys(plain).filter((key) => String(options[key] ?? "") !== String(plain[key] ?? "")).length;
}

/** The parts in the order sent: the search bar's text first, then the chips. */
export function orderedParts(text, chips) {
  const typed = text.trim();
  return typed ? [{ id: null, text: typed, weight: 1 }, ...chips] : [...chips];
}

/** The SearchRequest in protobuf JSON; parts with a file name it by their place ("part0"). */
export function toRequest(parts, options, offset, user) {
  const request = {
    parts: parts.map((part, index) =>
      part.file
        ? { file: `part${index}`, weight: part.weight }
        : { text: part.text, weight: part.weight },
    ),
    limit: options.limit,
    mmrLambda: Number((1 - options.diversity).toFixed(2)),
  };
  if (offset > 0) request.offset = offset;
  if (user) request.user = user;
  if (options.targets.length) request.targetModalities = options.targets;
  const filter = toFilter(options);
  if (filter) request.filter = filter;
  return request;
}

function toFilter(options) {
  const filters = [];
  const price = {};
  if (options.priceMin !== null) price.min = options.priceMin;
  if (options.priceMax !== null) price.max = options.priceMax;
  if (Object.keys(price).length) filters.push({ price });
  if (options.categories.length) filters.push({ category: { values: options.categories } });
  if (options.tagsAny.length) filters.push({ tagsAny: { values: options.tagsAny } });
  if (options.tagsAll.length) filters.push({ tagsAll: { values: options.tagsAll } });
  if (options.availableOnly) filters.push({ available: true });
  if (filters.length === 0) return null;
  return filters.length === 1 ? filters[0] : { and: { filters } };
}

/** The address-bar form of a query. Files cannot stand in an address and are left out. */
export function toParams(text, chips, options, offset) {
  const params = new URLSearchParams();
  if (text.trim()) params.set("q", text.trim());
  for (const part of chips) if (part.text) params.append("part", `${part.weight}:${part.text}`);
  if (options.priceMin !== null) params.set("price_min", options.priceMin);
  if (options.priceMax !== null) params.set("price_max", options.priceMax);
  for (const value of options.categories) params.append("category", value);
  for (const value of options.tagsAny) params.append("tag_any", value);
  for (const value of options.tagsAll) params.append("tag_all", value);
  if (options.availableOnly) params.set("available", "1");
  for (const value of options.targets) params.append("in", value.toLowerCase());
  if (options.limit !== DEFAULT_LIMIT) params.set("limit", options.limit);
  if (options.diversity !== DEFAULT_DIVERSITY) params.set("diversity", options.diversity);
  if (offset > 0) params.set("offset", offset);
  return params;
}

/** Read an address; whatever does not parse falls back to its default, as anybody may have edited it. */
export function fromParams(params) {
  const options = defaultOptions();
  options.priceMin = readNumber(params.get("price_min"), 0, Infinity, null);
  options.priceMax = readNumber(params.get("price_max"), 0, Infinity, null);
  options.categories = params.getAll("category").filter(Boolean);
  options.tagsAny = params.getAll("tag_any").filter(Boolean);
  options.tagsAll = params.getAll("tag_all").filter(Boolean);
  options.availableOnly = params.get("available") === "1";
  const targets = params.getAll("in").map((value) => value.toUpperCase());
  options.targets = MODALITIES.filter((modality) => targets.includes(modality));
  const limit = readNumber(params.get("limit"), 1, 100, DEFAULT_LIMIT);
  options.limit = LIMITS.includes(limit) ? limit : DEFAULT_LIMIT;
  options.diversity = readNumber(params.get("diversity"), 0, 1, DEFAULT_DIVERSITY);
  const texts = params.getAll("part").flatMap((value) => {
    const [, weight, text] = /^(-?[\d.]+):(.+)$/s.exec(value) ?? [];
    const number = readNumber(weight ?? null, -MAX_WEIGHT, MAX_WEIGHT, 0);
    return number === 0 ? [] : [{ text, weight: number }];
  });
  const offset = Math.trunc(readNumber(params.get("offset"), 0, 1e6, 0));
  return { text: params.get("q") ?? "", texts, options, offset };
}

function readNumber(value, min, max, fallback) {
  if (value === null || value.trim() === "") return fallback;
  const number = Number(value);
  return Number.isFinite(number) && number >= min && number <= max ? number : fallback;
}
