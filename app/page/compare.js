/** Compare: the same face from this service and from common formats, in the same number of bytes. */

import * as api from "./api.js";
import { catalogue, firstOf, served } from "./catalogue.js";
import { fill, h, show, unique } from "./dom.js";
import { Picker } from "./photo.js";
import { Status } from "./status.js";

const CODECS = [["webp", "WebP"], ["avif", "AVIF"], ["jxl", "JPEG XL"], ["jpeg", "JPEG"]];
const NAMES = Object.fromEntries(CODECS);
const USUAL = [48, 96, 192, 320];

export function create() {
  const view = new Compare();
  return { element: view.element, enter: () => view.enter() };
}

class Compare {
  #photo = null;
  #ready = null;

  constructor() {
    this.status = new Status();
    this.picker = new Picker({ label: "Choose a photo", onphoto: (photo) => { this.#photo = photo; this.#compare(); } });
    this.budgets = h("fieldset", { class: "choices" }, h("legend", {}, "Bytes"));
    this.codecs = h("fieldset", { class: "choices" }, h("legend", {}, "Beside"), CODECS.map(([value, name]) => box("codec", value, name, value !== "jpeg")));
    this.sheet = h("img", { alt: "The photo, and beside it each result; the table below has the figures" });
    this.rows = h("tbody");
    this.result = h("div", { class: "result", hidden: true },
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The pictures side by side" }, this.sheet),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The figures" },
        h("table", {},
          h("thead", {}, h("tr", {}, ["What", "Bytes", "Similarity", "PSNR"].map((text) => h("th", { scope: "col" }, text)), h("th", { scope: "col", class: "minor" }, "MS-SSIM"))),
          this.rows)),
      h("p", { class: "soft" }, "Similarity: cosine of a face recogniser, 1 is the photo itself. q: the quality setting. PSNR and MS-SSIM: how close the pixels are."),
    );
    this.empty = h("p", { class: "empty" }, "The same face in the same bytes, from each, appears here once there is a photo.");
    this.form = h("form", { class: "options", onsubmit: (event) => { event.preventDefault(); this.#compare(); } },
      this.budgets, this.codecs, h("div", { class: "actions" }, (this.button = h("button", { disabled: true }, "Compare"))));
    this.element = h("section", {},
      h("h1", { tabindex: "-1" }, "Compare"),
      h("p", { class: "lead" }, "The same face in the same bytes: Cameo beside the formats of the web. Where a format cannot make a file that small, its smallest is shown."),
      h("div", { class: "columns even" },
        h("section", { class: "panel", "aria-labelledby": "compare-photo" }, h("h2", { id: "compare-photo" }, "Photo"), this.picker.element),
        h("section", { class: "panel", "aria-labelledby": "compare-what" }, h("h2", { id: "compare-what" }, "What to compare"), this.form)),
      h("section", { class: "panel", "aria-labelledby": "compare-result" },
        h("h2", { id: "compare-result" }, "Side by side"), this.status.element, this.empty, this.result),
    );
  }

  enter() {
    this.picker.refresh();
    this.#ready ??= this.#offer().catch((error) => {
      this.#ready = null;
      if (!this.#photo) this.status.fail(error, () => this.enter());
    });
  }

  /** The sizes that the model has. */
  async #offer() {
    const answer = await catalogue();
    this.model = firstOf("progressive", answer) ?? served(answer)[0];
    const { rates } = this.model.manifest;
    const some = rates.filter((rate) => USUAL.includes(rate));
    const offered = some.length ? some : rates;
    fill(this.budgets, h("legend", {}, "Bytes"), offered.map((rate) => box("bytes", rate, String(rate), rate === 96 || offered.length === 1)));
    this.status.clear();
  }

  #compare() {
    if (!this.#photo) return;
    this.result.hidden = true;
    this.empty.hidden = true;
    this.status.run("Making the same face in each format. This takes some seconds…", async (more) => {
      await (this.#ready ??= this.#offer());
      const chosen = new FormData(this.form);
      const query = { models: this.model.name, codecs: chosen.getAll("codec").join(","), max_bytes: chosen.getAll("bytes").join(",") };
      const [answer, sheet] = await Promise.all([api.compare(this.#photo, query, more), api.compareSheet(this.#photo, query, more)]);
      this.picker.mark(answer.frame.box);
      show(this.sheet, sheet);
      fill(this.rows, answer.rows.map(row));
      this.result.hidden = false;
      this.button.disabled = false;
      return `Compared: ${answer.rows.length} results.`;
    }, () => this.#compare());
  }
}

function row({ kind, name, version, quality, side, bytes, max_bytes, identity, psnr, ms_ssim }) {
  const what = kind === "model" ? `${name}/${version}` : `${NAMES[name] ?? name} q${quality}${side === 128 ? "" : ` at ${side} px`}`;
  const over = kind === "codec" && bytes > max_bytes;
  const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));
  return h("tr", { class: kind },
    h("th", { scope: "row" }, what),
    h("td", {}, bytes.toLocaleString("en"), over && h("span", { class: "over" }, " its smallest")),
    h("td", {}, number(identity, 2)),
    h("td", {}, `${number(psnr, 1)} dB`),
    h("td", { class: "minor" }, number(ms_ssim, 3)));
}

function box(name, value, text, checked) {
  const id = unique(name);
  return h("span", { class: "choice" }, h("input", { type: "checkbox", id, name, value, checked }), h("label", { for: id }, text));
}
