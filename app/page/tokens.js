/** One face as its tokens come in: any number of first tokens is a coarser face. */

import * as api from "./api.js";
import { fill, h, unique } from "./dom.js";
import { Picker } from "./photo.js";
import { Status } from "./status.js";

const FRAMES = 16;
const FRAME_MILLISECONDS = 350;

export class Tokens {
  #faces = []; // [tokens, ImageBitmap], the fewest tokens first
  #timer = null;

  constructor(model) {
    this.model = model;
    this.status = new Status();
    this.picker = new Picker({ label: "Choose a photo", onphoto: (photo) => this.#take(photo) });
    this.face = h("canvas", { class: "face", role: "img", "aria-label": "The face of the first tokens" });
    this.output = h("output");
    this.slider = h("input", { id: unique("tokens"), type: "range", min: 0, max: FRAMES - 1, value: 0, oninput: () => { this.stop(); this.#point(); } });
    this.button = h("button", { type: "button", onclick: () => (this.#timer ? this.stop() : this.#play()) }, "Play");
    this.result = h("div", { class: "result", hidden: true },
      h("figure", { class: "centre" }, this.face),
      h("div", {}, h("div", { class: "row" }, h("label", { for: this.slider.id }, "Tokens"), this.output), this.slider),
      h("div", { class: "actions" }, this.button));
    this.empty = h("p", { class: "empty" }, "Choose a photo to see its face build up, token by token.");
    this.element = h("section", { class: "panel", "aria-labelledby": "tokens" },
      h("h2", { id: "tokens" }, "A face as its tokens come in"),
      h("p", { class: "soft" }, `Model ${model.name}/${model.version}. Its first tokens say most about who it is, so a payload can be cut anywhere.`),
      h("div", { class: "columns even" }, this.picker.element, h("div", {}, this.empty, this.status.element, this.result)));
  }

  enter() {
    this.picker.refresh();
  }

  #take(photo) {
    this.stop();
    this.result.hidden = true;
    this.empty.hidden = true;
    this.status.run("Finding the face…", async (more) => {
      const { name, version, manifest } = this.model;
      const query = { model: name, max_bytes: manifest.rates.at(-1), effort: "fast", likeness: false };
      const found = await api.compress(photo, query, more);
      this.picker.mark(found.frame.box);
      const { indices } = found.tokens;
      const counts = Array.from({ length: FRAMES }, (_, at) => Math.round(indices.length * (at / (FRAMES - 1)) ** 2));
      this.#faces = [];
      for (const count of counts) {
        const face = await api.reconstruct({ model: name, version, tokens: indices.slice(0, count) }, more);
        this.#faces.push([count, await createImageBitmap(face)]);
        if (this.#faces.length === 1) this.result.hidden = false;
        this.slider.value = this.#faces.length - 1;
        this.#point(); // each face is shown as it comes
      }
    }, () => this.#take(photo));
  }

  #point() {
    const at = Math.min(Number(this.slider.value), this.#faces.length - 1);
    const [count, picture] = this.#faces[at];
    this.face.width = this.face.height = picture.height;
    this.face.getContext("2d").drawImage(picture, 0, 0);
    fill(this.output, h("b", {}, count.toLocaleString("en")), ` of ${this.#faces.at(-1)[0].toLocaleString("en")}`);
    this.slider.setAttribute("aria-valuetext", `the first ${count} tokens`);
    this.face.setAttribute("aria-label", `The face of the first ${count} tokens`);
  }

  #play() {
    fill(this.button, "Stop");
    if (Number(this.slider.value) >= this.#faces.length - 1) this.slider.value = -1;
    this.#timer = setInterval(() => {
      this.slider.value = Number(this.slider.value) + 1;
      this.#point();
      if (Number(this.slider.value) >= this.#faces.length - 1) this.stop();
    }, FRAME_MILLISECONDS);
  }

  /** Stop playing. */
  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    fill(this.button, "Play");
  }
}
