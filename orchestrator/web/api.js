// The REST face of sensorium.v1. Protobuf JSON leaves zero values out, so every field is read with its default.

import { askForKey, keyHeaders } from "./key.js";

const SEARCH_DEADLINE_MS = 60_000;
const STATUS_DEADLINE_MS = 10_000;

/** A refusal or failure, typed as the API's Error message; `part` is null when it is about the whole request. */
export class SearchError extends Error {
  constructor({ code = "", message, part = null, kind = "", limit = "" }) {
    super(message);
    this.name = "SearchError";
    this.code = code;
    this.part = part;
    this.kind = kind;
    this.limit = limit;
  }
}

/**
 * Run one search.
 * @param {Object} request SearchRequest in protobuf JSON, see query.js
 * @param {Array<{file?: File}>} parts the same parts, in the same order, with their files
 * @param {AbortSignal} signal aborts when a newer search starts; the promise then rejects with AbortError
 * @throws {SearchError}
 */
export async function search(request, parts, signal) {
  const body = await call("/v1/search", { method: "POST", ...encode(request, parts) }, signal, SEARCH_DEADLINE_MS);
  return {
    hits: (body.hits ?? []).map(readHit),
    candidates: body.candidates ?? 0,
    parts: (body.parts ?? []).map(readPartInfo),
    stages: (body.stages ?? []).map((stage) => ({ stage: stage.stage ?? "", ms: stage.ms ?? 0 })),
    totalMs: body.totalMs ?? 0,
    degraded: body.degraded ?? [],
    embeddingVersion: body.embeddingVersion ?? "",
    requestId: body.requestId ?? "",
  };
}

/** What is being searched: item count and profile. */
export async function status() {
  const body = await call("/v1/status", {}, new AbortController().signal, STATUS_DEADLINE_MS);
  return { items: Number(body.items ?? 0), profile: body.profile ?? "" };
}

export const mediaUrl = (itemId, index) => `/v1/items/${encodeURIComponent(itemId)}/media/${index}`;
export const thumbnailUrl = (itemId) => `/v1/items/${encodeURIComponent(itemId)}/thumbnail`;

function encode(request, parts) {
  if (!parts.some((part) => part.file)) {
    return { headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) };
  }
  const form = new FormData();
  form.append("request", JSON.stringify(request));
  parts.forEach((part, index) => {
    if (part.file) form.append(`part${index}`, part.file, part.file.name);
  });
  return { body: form };
}

async function call(url, init, signal, deadlineMs) {
  const deadline = AbortSignal.timeout(deadlineMs);
  let response;
  let body;
  try {
    response = await fetch(url, {
      ...init,
      headers: { Accept: "application/json", ...keyHeaders(), ...init.headers },
      signal: AbortSignal.any([signal, deadline]),
    });
    body = await readJson(response);
  } catch (cause) {
    if (signal.aborted) throw cause; // a newer search took over
    if (deadline.aborted) {
      throw new SearchError({ code: "page.deadline", message: `No answer within ${deadlineMs / 1000} seconds.` });
    }
    throw new SearchError({ code: "page.unreachable", message: "The server could not be reached. Is it running?" });
  }
  if (response.ok && body !== null) return body;
  if (response.status === 401) askForKey();
  throw new SearchError(
    body?.error?.message
      ? body.error
      : { code: "page.http", message: `The server answered with status ${response.status} and no explanation.` },
  );
}

/** The JSON body, or null where a proxy or a crash answered something else. */
async function readJson(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function readHit(hit) {
  return {
    item: readItem(hit.item ?? {}),
    score: hit.score ?? 0,
    signals: (hit.signals ?? []).map((signal) => ({
      queryModality: signal.queryModality ?? "",
      itemModality: signal.itemModality ?? "",
      space: signal.space ?? "",
      similarity: signal.similarity ?? 0,
      score: signal.score ?? 0,
      weight: signal.weight ?? 0,
      part: signal.part ?? 0,
    })),
    influences: (hit.influences ?? []).map((influence) => ({
      stage: influence.stage ?? "",
      detail: influence.detail ?? "",
      change: influence.change ?? 0,
    })),
    moment: hit.moment
      ? {
          modality: hit.moment.modality ?? "",
          mediaIndex: hit.moment.mediaIndex ?? 0,
          startS: hit.moment.startS ?? 0,
          endS: hit.moment.endS ?? 0,
        }
      : null,
  };
}

function readItem(item) {
  return {
    id: item.id ?? "",
    title: item.title ?? "",
    description: item.description ?? "",
    category: item.category ?? "",
    tags: item.tags ?? [],
    price: item.price ?? null,
    available: item.available ?? true,
    media: (item.media ?? []).map((media, index) => ({
      index,
      modality: media.modality ?? "",
      format: media.format ?? "",
      durationS: media.durationS ?? 0,
    })),
  };
}

function readPartInfo(part) {
  return {
    modality: part.modality ?? "",
    format: part.format ?? "",
    transcript: part.transcript ?? "",
    cached: part.cached ?? false,
  };
}
