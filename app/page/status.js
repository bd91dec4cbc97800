/** What a view is doing, in words: busy, waiting for a turn, done, or what went wrong and what to do. */

import { Gone, Problem } from "./api.js";
import { fill, h, icon } from "./dom.js";

/** By the problem's type: what it means here, what helps, and whether the service's own sentence says more. */
const WORDS = {
  "no-face": ["No face was found in this picture.", "Use a photo from the front, with the whole head in it and light on the face."],
  "too-many-faces": ["There are several faces in this picture.", "Use a photo of one person."],
  "not-an-image": ["This file is not a picture.", "Choose a photo: JPEG, PNG, WebP, AVIF or HEIC."],
  "truncated-image": ["This picture is cut short or damaged.", "Take it or copy it once more."],
  "unsupported-image": ["Pictures of this format are not read.", "Save it as JPEG or PNG.", true],
  "too-many-pixels": ["This picture is too large.", "Use one with fewer pixels.", true],
  "body-too-large": ["This file is too large.", "Use a smaller one.", true],
  "no-card": ["No QR code was found in this picture.", "Hold the card flat and close, without glare, until its code is sharp."],
  "not-a-card": ["This QR code is not a card.", "Something else made it, or it holds a face without a signature."],
  "damaged-card": ["This card cannot be read: a part of its text is missing or changed.", "Take another picture of it."],
  "card-too-large": ["This does not fit on a card.", "Shorten what is longest, or allow fewer bytes for the face.", true],
  "cannot-draw": ["A letter cannot be printed.", "No font of the service has it.", true],
  "no-signing-key": ["This service has no key to sign cards with.", "Whoever runs it makes one with the command cameo key."],
  "not-calibrated": ["There is no decision for this face.", "Its model, or its size, has no measured threshold.", true],
  "unknown-tag": ["The face on this card was made by a model that this service does not have.", "Ask a service that has it.", true],
  "rate-limited": ["This API key has asked too often.", "", true],
  overloaded: ["The service is busy.", "Try again in a moment."],
  "not-ready": ["The service is starting or stopping.", "Try again in a moment.", true],
  "deadline-exceeded": ["The service took too long.", "Try again in a moment."],
  unauthorized: ["This service needs an API key.", "Try again, and give the key."],
};

/** A region that screen readers read out when it changes. `again` of `run` is offered after an error. */
export class Status {
  #controller = null;

  constructor() {
    this.element = h("div", { class: "status", role: "status", "aria-live": "polite" });
  }

  /**
   * Do `work(more)`, whose `more` goes with each request, and show the sentence that it returns, if any. A run that is
   * still going is dropped. Returns whether it came to its end.
   */
  async run(text, work, again = null) {
    this.stop();
    const controller = (this.#controller = new AbortController());
    const waiting = (seconds) => (seconds ? this.wait(seconds) : this.busy(text));
    this.busy(text);
    try {
      const said = await work({ signal: controller.signal, waiting });
      if (this.#controller === controller) said ? this.say(said) : this.clear();
      return true;
    } catch (error) {
      if (this.#controller === controller && !controller.signal.aborted) this.fail(error, again);
      return false;
    }
  }

  /** Drop what is going on. */
  stop() {
    this.#controller?.abort();
    this.#controller = null;
  }

  clear() {
    this.#set("");
  }

  busy(text) {
    this.#set("busy", h("span", { class: "spinner" }), h("p", {}, text));
  }

  wait(seconds) {
    const text = `The service is busy. Trying again in ${seconds} s.`;
    this.#set("wait", icon("clock"), h("p", {}, text));
  }

  say(text) {
    this.#set("done", h("p", {}, text));
  }

  fail(error, again = null) {
    if (!(error instanceof Problem || error instanceof Gone)) console.error(error);
    const [what, help, more] = words(error);
    const small = [
      more && error.message && h("p", { class: "detail" }, sentence(error.message)),
      error.requestId && h("p", { class: "detail" }, "Request ", h("code", {}, error.requestId)),
    ];
    this.#set(
      "error",
      icon("warning"),
      h("div", {}, h("p", {}, h("strong", {}, what), " ", help), small, again && h("button", { type: "button", onclick: again }, "Try again")),
    );
  }

  #set(kind, ...children) {
    this.element.className = `status ${kind}`;
    fill(this.element, ...children);
    if (kind === "error" || kind === "wait") this.element.scrollIntoView({ block: "nearest" });
  }
}

function words(error) {
  if (error instanceof Gone) return ["The service does not answer.", "The page tries to reach it again."];
  if (error instanceof Problem) {
    return WORDS[error.type] ?? [error.facts.title ? `${error.facts.title}.` : `The service answered ${error.status}.`, "", true];
  }
  return ["This page has a defect.", "Load it again."];
}

function sentence(text) {
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
