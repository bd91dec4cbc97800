/** The service: its calls, with API key, waiting where it asks for it, and errors as it words them. */

import * as connection from "./connection.js";
import { askForKey, storedKey } from "./key.js";

const ROOT = new URL("..", import.meta.url); // the service, wherever a proxy shows it
const MOST_TRIES = 6;
const PAYLOAD = "application/vnd.cameo";

/** What the service refused (RFC 9457); `facts` has what is wrong and its limit. */
export class Problem extends Error {
  constructor(status, facts) {
    super(facts.detail ?? facts.title ?? `The service answered ${status}.`);
    this.status = status;
    this.facts = facts;
    this.type = (facts.type ?? "").replace("urn:cameo:problem:", "");
    this.requestId = facts.request_id ?? null;
  }
}

/** No answer came: the network or the service is gone. */
export class Gone extends Error {}

/**
 * Ask, and ask again as the service says. `waiting(seconds)` is told each second how long until the next try, and 0
 * when it begins. Problem, Gone, or AbortError once `signal` says so.
 */
export async function ask(path, { method = "POST", query = {}, headers = {}, body, signal, waiting } = {}) {
  const address = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) address.searchParams.set(name, value);
  }
  for (let tries = 1; ; tries += 1) {
    const answer = await send(address, { method, headers: { ...headers, ...authorization() }, body, signal });
    if (answer.ok) return answer;
    const problem = await read(answer);
    const seconds = Number(answer.headers.get("Retry-After"));
    if (answer.status === 401) {
      if (!(await askForKey(problem.message))) throw problem;
    } else if ([429, 503].includes(answer.status) && seconds > 0 && tries < MOST_TRIES) {
      await countDown(seconds, waiting, signal);
    } else {
      throw problem;
    }
  }
}

async function send(address, options) {
  try {
    const answer = await fetch(address, { ...options, cache: "no-store", credentials: "same-origin" });
    connection.answered();
    return answer;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    connection.lost(new URL("livez", ROOT));
    throw new Gone("The service does not answer.");
  }
}

function authorization() {
  const key = storedKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function read(answer) {
  try {
    return new Problem(answer.status, await answer.json());
  } catch {
    return new Problem(answer.status, {}); // of a proxy in between, which speaks HTML
  }
}

async function countDown(seconds, waiting, signal) {
  for (let left = Math.ceil(seconds); left > 0; left -= 1) {
    waiting?.(left);
    await pause(1000, signal);
  }
  waiting?.(0);
}

/** Wait; AbortError once `signal` says so. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.set(name, value);
  return data;
}

function json(value) {
  return { body: JSON.stringify(value), headers: { "Content-Type": "application/json" } };
}

const accept = (type, request) => ({ ...request, headers: { ...request.headers, Accept: type } });
const asJson = async (answer) => (await answer).json();
const asBlob = async (answer) => (await answer).blob();

export const ready = (more) => asJson(ask("readyz", { method: "GET", ...more }));
export const models = (more) => asJson(ask("models", { method: "GET", ...more }));

export const compress = (photo, query, more) => asJson(ask("compress", { body: form({ image: photo }), query, ...more }));

/** The payload of a coarser face. */
export const shorten = (payload, max_bytes, more) =>
  asJson(ask("shorten", { ...json({ payload }), query: { max_bytes }, ...more }));

/** A QR code, an SVG, that holds this payload alone. */
export const bareCode = (payload, more) =>
  asBlob(ask("shorten", { ...accept("image/svg+xml", json({ payload })), query: { max_bytes: atob(payload).length }, ...more }));

/** The face of `{payload}`, or of `{model, version, tokens}`. */
export const reconstruct = (what, more) => asBlob(ask("reconstruct", { ...accept("image/png", json(what)), ...more }));

/** A signed card with this face, as `type`: PDF, PNG, SVG or text. */
export const card = (payload, claims, type, query, more) =>
  asBlob(ask("card", { ...accept(type, json({ payload, claims })), query, ...more }));

export const readCard = (photo, more) => asJson(ask("card/read", { body: form({ image: photo }), ...more }));
export const readCardText = (text, more) => asJson(ask("card/read", { ...json({ text }), ...more }));

/** A photo against a card, given as the text of its code. */
export const verify = (photo, card, query, more) =>
  asJson(ask("verify", { body: form({ image: photo, card }), query, ...more }));

export const compare = (photo, query, more) => asJson(ask("compare", { body: form({ image: photo }), query, ...more }));
export const compareSheet = (photo, query, more) =>
  asBlob(ask("compare", { body: form({ image: photo }), headers: { Accept: "image/png" }, query, ...more }));

export const interpolate = (a, b, query, more) =>
  asBlob(ask("interpolate", { ...accept("image/png", json({ a, b })), query, ...more }));
export const sample = (query, more) => asBlob(ask("sample", { method: "GET", headers: { Accept: "image/png" }, query, ...more }));

/** The bytes of a payload in base64, as a file. */
export function payloadFile(payload) {
  return new Blob([Uint8Array.from(atob(payload), (character) => character.charCodeAt(0))], { type: PAYLOAD });
}
