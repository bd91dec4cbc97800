/** Latent: what is inside of the models. A walk between two faces, faces of nobody, a face as its tokens come in. */

import * as api from "./api.js";
import { catalogue, firstOf } from "./catalogue.js";
import { debounce, fill, h, unique } from "./dom.js";
import { Picker } from "./photo.js";
import { Status } from "./status.js";
import { Strip } from "./strip.js";
import { Tokens } from "./tokens.js";

const STEPS = 12;
const COUNT = 8;

export function create() {
  const view = new Latent();
  return { element: view.element, enter: () => view.enter(), leave: () => view.leave() };
}

class Latent {
  #ready = null;

  constructor() {
    this.status = new Status();
    this.parts = [];
    this.body = h("div", { class: "parts" });
    this.element = h("section", {},
      h("h1", { tabindex: "-1" }, "Latent"),
      h("p", { class: "lead" }, "What the models know of faces: the way from one face to another, faces of nobody, and one face as its tokens come in."),
      this.status.element, this.body);
  }

  enter() {
    this.#ready ??= this.status.run("Looking which models there are…", async (more) => this.#build(await catalogue(more)), () => {
      this.#ready = null;
      this.enter();
    });
    for (const part of this.parts) part.enter?.();
  }

  leave() {
    for (const part of this.parts) part.stop?.();
  }

  #build(answer) {
    const progressive = firstOf("progressive", answer);
    const vae = firstOf("vae", answer);
    this.parts = [progressive && new Tokens(progressive), vae && new Walk(vae), vae && new Samples(vae)].filter(Boolean);
    const none = this.parts.length === 0 && h("p", { class: "empty" }, "This service has neither a model with several rates nor a VAE.");
    fill(this.body, none, this.parts.map((part) => part.element));
    if (!vae && progressive) this.body.append(h("p", { class: "empty" }, "This service has no VAE, so there is no walk between faces, and there are no faces of nobody."));
    for (const part of this.parts) part.enter?.();
  }
}

/** From one face to another. */
class Walk {
  #photos = [null, null];
  #ends = [null, null]; // their payloads

  constructor(model) {
    this.model = model;
    this.status = new Status();
    this.pickers = ["First face", "Second face"].map((label, at) => new Picker({ label, onphoto: (photo) => this.#take(photo, at) }));
    this.strip = new Strip("A face on the way");
    this.slider = h("input", { id: unique("walk"), type: "range", min: 0, max: STEPS - 1, value: STEPS / 2, oninput: () => this.#point() });
    this.result = h("div", { class: "result", hidden: true },
      h("figure", { class: "centre" }, this.strip.face),
      h("div", {}, h("label", { for: this.slider.id }, "From the first face to the second"), this.slider),
      this.strip.all);
    this.element = h("section", { class: "panel", "aria-labelledby": "walk" },
      h("h2", { id: "walk" }, "A walk between two faces"),
      h("p", { class: "soft" }, `Model ${model.name}/${model.version}. Between two points of its space there are faces all the way. `,
        "A face in the middle can pass for both people: whoever issues cards takes the photos, or looks at the person."),
      h("div", { class: "columns even" }, this.pickers.map((picker) => picker.element)),
      this.status.element, this.result);
  }

  enter() {
    for (const picker of this.pickers) picker.refresh();
  }

  #take(photo, at) {
    this.#photos[at] = photo;
    this.#ends[at] = null;
    this.#walk();
  }

  #walk() {
    this.status.run("Finding the face…", async (more) => {
      for (const [at, photo] of this.#photos.entries()) {
        if (!photo || this.#ends[at]) continue;
        const found = await api.compress(photo, { model: this.model.name, likeness: false }, more);
        this.#ends[at] = found.payload;
        this.pickers[at].mark(found.frame.box);
      }
      if (this.#ends.includes(null)) return;
      this.strip.take(await createImageBitmap(await api.interpolate(...this.#ends, { steps: STEPS }, more)));
      this.result.hidden = false;
      this.#point();
    }, () => this.#walk());
  }

  #point() {
    const at = Number(this.slider.value);
    this.strip.point(at);
    this.slider.setAttribute("aria-valuetext", `face ${at + 1} of ${STEPS}`);
  }
}

/** Faces of nobody. */
class Samples {
  #seed = 1;

  constructor(model) {
    this.model = model;
    this.status = new Status();
    this.strip = new Strip("A face of nobody");
    this.seed = h("input", { id: unique("seed"), type: "number", min: 0, max: 2 ** 32 - 1, value: this.#seed, required: true, oninput: debounce(400, () => this.#draw()) });
    this.element = h("section", { class: "panel", "aria-labelledby": "samples" },
      h("h2", { id: "samples" }, "Faces of nobody"),
      h("p", { class: "soft" }, `Points drawn at random from the space of ${model.name}/${model.version}. The same number gives the same faces.`),
      h("div", { class: "inline" },
        h("div", { class: "field" }, h("label", { for: this.seed.id }, "Number"), this.seed),
        h("button", { type: "button", onclick: () => this.#next() }, "Draw others")),
      this.status.element, this.strip.all);
    this.#draw();
  }

  #next() {
    this.seed.value = Math.floor(Math.random() * 100_000);
    this.#draw();
  }

  #draw() {
    if (!this.seed.reportValidity()) return;
    this.status.run("Drawing faces…", async (more) => {
      const query = { model: this.model.name, seed: this.seed.value, count: COUNT };
      this.strip.take(await createImageBitmap(await api.sample(query, more)));
    }, () => this.#draw());
  }
}
