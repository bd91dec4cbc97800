/** Enrol: a photo becomes a payload of the size that one chooses, its QR code, and a signed card to print. */

import * as api from "./api.js";
import { CardMaker } from "./card.js";
import { catalogue, firstOf, served } from "./catalogue.js";
import { debounce, fill, h, icon, save, show, unique } from "./dom.js";
import { Picker } from "./photo.js";
import { Status } from "./status.js";

const PREVIEW_AFTER = 120; // milliseconds without a move of the slider
const FINAL_AFTER = 500; // until the tokens are searched for, which takes the photo once more
const SAME_PERSON = 0.363; // SFace: from here on two faces count as one person

export function create() {
  const view = new Enrol();
  return { element: view.element, enter: () => view.enter() };
}

class Enrol {
  #photo = null;
  #base = null; // the finest payload, from which coarser ones are made while the slider moves
  #final = new Map(); // bytes -> the answer of /compress
  #model = null;

  constructor() {
    this.status = new Status();
    this.picker = new Picker({ label: "Choose a photo", onphoto: (photo) => this.#begin(photo) });
    this.size = new Size((bytes) => this.#moved(bytes));
    this.result = new Result();
    this.maker = new CardMaker();
    this.empty = h("p", { class: "empty" }, "The face as it will be read appears here once there is a photo.");
    this.work = h("div", { class: "work", hidden: true }, this.size.element, this.result.element);
    this.card = h("section", { class: "panel", hidden: true, "aria-labelledby": "card-title" }, h("h2", { id: "card-title" }, "Card"), this.maker.element);
    this.element = h(
      "section",
      {},
      h("h1", { tabindex: "-1" }, "Enrol"),
      h("p", { class: "lead" }, "A photo becomes a face in about a hundred bytes: small enough for a QR code on a card."),
      h("div", { class: "columns" },
        h("section", { class: "panel", "aria-labelledby": "photo-title" }, h("h2", { id: "photo-title" }, "Photo"), this.picker.element),
        h("section", { class: "panel grow", "aria-labelledby": "face-title" }, h("h2", { id: "face-title" }, "Face"), this.empty, this.work, this.status.element),
      ),
      this.card,
    );
    this.preview = debounce(PREVIEW_AFTER, (bytes) => this.#preview(bytes));
    this.settle = debounce(FINAL_AFTER, (bytes) => this.#finish(bytes));
  }

  enter() {
    this.picker.refresh();
    this.maker.enter();
  }

  #begin(photo) {
    this.preview.cancel();
    this.settle.cancel();
    this.#photo = photo;
    this.#base = null;
    this.#final.clear();
    this.work.hidden = this.card.hidden = true;
    this.empty.hidden = false;
    this.status.run("Finding the face…", async (more) => {
      const answer = await catalogue(more);
      this.#model = firstOf("progressive", answer) ?? served(answer)[0];
      const { rates, default_rate } = this.#model.manifest;
      this.size.set(rates, default_rate ?? rates[0]);
      const query = { model: this.#model.name, max_bytes: rates.at(-1), effort: "fast", likeness: false };
      const found = await api.compress(photo, query, more);
      this.#base = found.payload;
      this.picker.mark(found.frame.box);
      this.result.notes(found);
      await this.#draw(this.size.bytes, more);
      this.empty.hidden = true;
      this.work.hidden = this.card.hidden = false;
      this.result.face.scrollIntoView({ block: "nearest" }); // on a phone it is below the photo
      this.settle(this.size.bytes);
    }, () => this.#begin(photo));
  }

  #moved(bytes) {
    this.maker.set(null);
    if (!this.#base) return;
    this.status.stop();
    this.preview(bytes);
    this.settle(bytes);
  }

  /** The face made from the finest payload: the photo stays where it is. */
  #preview(bytes) {
    if (this.#final.has(bytes)) return;
    this.status.run("Drawing a preview…", (more) => this.#draw(bytes, more), () => this.#preview(bytes));
  }

  async #draw(bytes, more) {
    const { payload } = await api.shorten(this.#base, bytes, more);
    const [face, code] = await Promise.all([api.reconstruct({ payload }, more), api.bareCode(payload, more)]);
    this.result.draft(face, code, bytes);
  }

  /** The face that is kept: for these bytes its tokens are searched for. */
  #finish(bytes) {
    this.status.run("Searching for the most similar face…", async (more) => {
      const found = this.#final.get(bytes) ?? (await api.compress(this.#photo, { model: this.#model.name, max_bytes: bytes }, more));
      this.#final.set(bytes, found);
      const { payload } = found;
      const [face, code] = await Promise.all([api.reconstruct({ payload }, more), api.bareCode(payload, more)]);
      this.result.finished(found, face, code);
      this.maker.set(payload);
    }, () => this.#finish(bytes));
  }
}

/** The slider for the bytes of the payload. */
class Size {
  constructor(onmove) {
    const id = unique("bytes");
    this.slider = h("input", { id, type: "range", step: 4, oninput: () => { this.#show(); onmove(this.bytes); } });
    this.output = h("output", { for: id });
    this.ends = h("div", { class: "ends soft", "aria-hidden": "true" });
    this.fixed = h("p", { class: "soft", hidden: true });
    this.element = h("div", { class: "size" }, h("div", { class: "row" }, h("label", { for: id }, "Size of the payload"), this.output), this.slider, this.ends, this.fixed);
  }

  get bytes() {
    return Number(this.slider.value);
  }

  /** Rates of the model, the least first; a model with one rate has no slider. */
  set(rates, usual) {
    const same = this.slider.min === String(rates[0]) && this.slider.max === String(rates.at(-1));
    if (!same) Object.assign(this.slider, { min: rates[0], max: rates.at(-1), value: usual });
    this.slider.hidden = this.ends.hidden = rates.length === 1;
    this.fixed.hidden = rates.length > 1;
    fill(this.fixed, "No model here has several rates, so there is nothing to choose.");
    fill(this.ends, h("span", {}, rates[0]), h("span", {}, rates.at(-1)));
    this.#show();
  }

  #show() {
    fill(this.output, h("b", {}, this.bytes), " bytes");
    this.slider.setAttribute("aria-valuetext", `${this.bytes} bytes`);
  }
}

/** The face, its QR code, and what can be taken away. */
class Result {
  #payload = null;
  #code = null;

  constructor() {
    this.face = h("img", { class: "face", width: 256, height: 256, alt: "The face as it will be read" });
    this.code = h("img", { class: "code", width: 220, height: 220, alt: "QR code that holds the payload alone" });
    this.caption = h("figcaption", { "aria-live": "polite" });
    this.codeCaption = h("figcaption", {});
    this.likeness = h("div", { class: "likeness" });
    this.warnings = h("ul", { class: "warnings" });
    const take = (text, action) => h("button", { type: "button", onclick: action }, text);
    this.actions = h("div", { class: "actions" },
      take("Payload", () => save(api.payloadFile(this.#payload.payload), "face.cameo")),
      take("QR code", () => save(this.#code, "face.svg")),
      (this.copy = take("Copy as base64", () => this.#copy())),
    );
    this.element = h("div", { class: "result" },
      h("div", { class: "pair" },
        h("figure", {}, this.face, this.caption),
        h("figure", {}, this.code, this.codeCaption),
      ),
      this.likeness,
      this.warnings,
      this.actions,
    );
  }

  draft(face, code, bytes) {
    this.#picture(face, code);
    this.element.classList.add("draft");
    fill(this.caption, `Preview in ${bytes} bytes`);
    fill(this.likeness);
    this.#allow(null);
  }

  finished(found, face, code) {
    this.#picture(face, code);
    this.element.classList.remove("draft");
    fill(this.caption, `As it will be read, from ${found.sizes.payload} bytes`);
    if (found.likeness !== null) fill(this.likeness, meter(found.likeness));
    this.notes(found);
    this.#allow(found);
  }

  /** What is doubtful about the photo or the payload. */
  notes({ warnings, frame }) {
    const said = warnings.map(({ detail }) => detail);
    if (frame.faces > 1) said.unshift(`There are ${frame.faces} faces in the photo. The most prominent one was taken: it is marked.`);
    fill(this.warnings, said.map((text) => h("li", {}, icon("warning"), text)));
  }

  async #picture(face, code) {
    show(this.face, face);
    show(this.code, code);
    this.#code = code;
    const [, side] = (await code.text()).match(/viewBox="0 0 (\d+) /) ?? [];
    const modules = side - 8;
    fill(this.codeCaption, `QR code, version ${(modules - 17) / 4}: ${Math.ceil(side * 0.33)} mm wide in print`);
  }

  #allow(found) {
    this.#payload = found;
    for (const button of this.actions.children) button.disabled = !found;
    fill(this.copy, "Copy as base64");
  }

  async #copy() {
    await navigator.clipboard.writeText(this.#payload.payload);
    fill(this.copy, "Copied");
  }
}

function meter(likeness) {
  const id = unique("likeness");
  const words = likeness < SAME_PERSON ? "not taken for the same person" : "taken for the same person";
  return [
    h("div", { class: "row" }, h("span", { id }, "Likeness, as a face recogniser sees it"), h("b", {}, `${likeness.toFixed(2)}, ${words}`)),
    h("meter", { min: 0, max: 1, low: SAME_PERSON, high: 0.6, optimum: 1, value: Math.max(0, likeness), "aria-labelledby": id }),
  ];
}
