/** Faces side by side in one picture: one of them large, and all of them in a row that wraps. */

import { fill, h } from "./dom.js";

export class Strip {
  #picture = null;

  constructor(name) {
    this.name = name;
    this.face = h("canvas", { class: "face", role: "img", "aria-label": name });
    this.all = h("ol", { class: "faces" });
  }

  get count() {
    return Math.round(this.#picture.width / this.#picture.height);
  }

  /** `picture`: square faces from left to right. */
  take(picture) {
    this.#picture = picture;
    const faces = Array.from({ length: this.count }, (_, at) => this.#draw(h("canvas", { role: "img", "aria-label": `${this.name}, ${at + 1} of ${this.count}` }), at));
    fill(this.all, faces.map((face) => h("li", {}, face)));
  }

  /** Show this face large. */
  point(at) {
    this.#draw(this.face, at);
    this.face.setAttribute("aria-label", `${this.name}, ${at + 1} of ${this.count}`);
    [...this.all.children].forEach((each, index) => each.classList.toggle("here", index === at));
  }

  #draw(canvas, at) {
    const side = this.#picture.height;
    canvas.width = canvas.height = side;
    canvas.getContext("2d").drawImage(this.#picture, at * side, 0, side, side, 0, 0, side, side);
    return canvas;
  }
}
