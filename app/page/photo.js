/** Where a photo comes from: a file, a drop, the clipboard, the camera, or the photo that another view has. */

import { takePhoto } from "./camera.js";
import { fill, h, icon, show, unique } from "./dom.js";

const pickers = new Set();
let shared = null; // the last photo of a person: other views offer it

/**
 * `onphoto(blob)` is called with each photo. `share`: whether other views may offer it. `open()` opens the camera and
 * gives a photo, by default of the person in front, or null.
 */
export class Picker {
  #alt;
  #blank;
  #preview;
  #share;
  #onphoto;

  constructor({ label, hint, onphoto, share = true, alt = "The photo that you chose", blank = "portrait", open = () => takePhoto() }) {
    this.#share = share;
    this.#alt = alt;
    this.#onphoto = onphoto;
    const id = unique("photo");
    this.input = h("input", { id, type: "file", accept: "image/*", class: "hidden-input", onchange: () => this.#chosen() });
    this.again = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.take(shared) }, "Use the same photo");
    this.#preview = h("div", { class: "preview", hidden: true });
    this.element = h(
      "div",
      { class: "picker", role: "group", "aria-label": label },
      (this.#blank = h("div", { class: "blank" }, icon(blank))),
      this.#preview,
      h("div", { class: "actions" },
        h("span", { class: "file" }, this.input, h("label", { for: id, class: "button" }, label)),
        h("button", { type: "button", onclick: async () => this.take(await open()) }, icon("camera"), "Camera"),
        this.again,
      ),
      h("p", { class: "soft" }, hint ?? "Or drop it here, or paste it."),
    );
    for (const kind of ["dragover", "dragleave", "drop"]) this.element.addEventListener(kind, (event) => this.#drag(event));
    pickers.add(this);
  }

  get isEmpty() {
    return this.#preview.hidden;
  }

  /** Offer the photo of another view, where there is one. */
  refresh() {
    this.again.hidden = !(this.#share && shared && this.isEmpty);
  }

  /** Use this photo; null is none. */
  take(blob) {
    if (!blob) return;
    if (this.#share) shared = blob;
    const before = this.#preview.querySelector("img");
    if (before) URL.revokeObjectURL(before.src);
    const image = h("img", { alt: this.#alt });
    image.addEventListener("error", () => fill(this.#preview, h("p", { class: "soft" }, "This browser cannot show the photo. The service may still read it.")), { once: true });
    fill(this.#preview, show(image, blob));
    this.#preview.hidden = false;
    this.#blank.hidden = true;
    this.refresh();
    this.#onphoto(blob);
  }

  /** Draw where the face is: `box` is x, y, width and height in pixels of the photo. */
  mark(box) {
    const image = this.#preview.querySelector("img");
    if (!image?.naturalWidth) return;
    this.#preview.querySelector(".box")?.remove();
    const mark = h("div", { class: "box" });
    const [x, y, width, height] = box;
    const sides = { left: x / image.naturalWidth, top: y / image.naturalHeight, width: width / image.naturalWidth, height: height / image.naturalHeight };
    for (const [side, share] of Object.entries(sides)) mark.style.setProperty(side, `${100 * share}%`);
    this.#preview.append(mark);
  }

  #chosen() {
    this.take(this.input.files[0]);
    this.input.value = ""; // the same file may be chosen again
  }

  #drag(event) {
    event.preventDefault();
    this.element.classList.toggle("over", event.type === "dragover");
    if (event.type === "drop") this.take(picture(event.dataTransfer));
  }
}

function picture(transfer) {
  return [...(transfer?.files ?? [])][0] ?? null;
}

document.addEventListener("paste", (event) => {
  const seen = [...pickers].filter((picker) => picker.element.checkVisibility());
  const picker = seen.find((each) => each.isEmpty) ?? seen[0];
  const blob = picture(event.clipboardData);
  if (!picker || !blob) return;
  event.preventDefault();
  picker.take(blob);
});

// A photo that misses its field must not replace the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
