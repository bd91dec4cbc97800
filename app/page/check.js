/** Check: what a card says, who says it, the face in it, and whether a photo shows that person. */

import * as api from "./api.js";
import { scan } from "./camera.js";
import { fill, h, icon, show, unique } from "./dom.js";
import { Picker } from "./photo.js";
import { Status } from "./status.js";
import { Decision } from "./verify.js";

const STATES = {
  valid: { word: "Valid", kind: "good", icon: "check", text: "A trusted issuer signed exactly this." },
  "unknown-issuer": { word: "Unknown issuer", kind: "warn", icon: "unknown", text: "Anybody can make a card like this one. Do not rely on it." },
  broken: { word: "Broken", kind: "bad", icon: "cross", text: "This is not the issuer's signature: the card was changed, or somebody else made it." },
  expired: { word: "Expired", kind: "warn", icon: "clock", text: "The signature is right, but the card is out of date." },
  "not-yet-valid": { word: "Not yet valid", kind: "warn", icon: "clock", text: "The signature is right, but the card is for later." },
};
const LABELS = {
  full_name: "Name", date_of_birth: "Date of birth", gender: "Sex", id: "Number", secondary_full_name: "Name in another language",
  country_of_issuance: "Issued in",
};

export function create() {
  const view = new Check();
  return { element: view.element };
}

class Check {
  constructor() {
    this.status = new Status();
    this.picker = new Picker({
      label: "Choose a picture",
      hint: "A photo or scan of the card. Or drop it here, or paste it.",
      alt: "The picture of the card",
      blank: "card",
      share: false,
      onphoto: (photo) => this.#read((more) => api.readCard(photo, more), () => this.picker.take(photo)),
      open: () => this.#scan(),
    });
    this.text = h("textarea", { id: unique("text"), rows: 3, spellcheck: "false", required: true });
    this.found = h("div", { class: "found" });
    const typed = h("form", { onsubmit: (event) => this.#typed(event) },
      h("label", { for: this.text.id }, "What the QR code holds"),
      this.text,
      h("div", { class: "actions" }, h("button", {}, "Read the text")),
    );
    this.element = h("section", {},
      h("h1", { tabindex: "-1" }, "Check"),
      h("p", { class: "lead" }, "A card says who somebody is. See what it says, whether its issuer said it, and whether the person is the one on it."),
      h("div", { class: "columns" },
        h("section", { class: "panel", "aria-labelledby": "card-in" },
          h("h2", { id: "card-in" }, "Card"), this.picker.element,
          h("details", {}, h("summary", {}, "The text of a scanner"), typed)),
        h("section", { class: "panel", "aria-labelledby": "card-out" },
          h("h2", { id: "card-out" }, "What it says"), this.status.element, this.found),
      ),
    );
    this.#empty();
  }

  #empty() {
    fill(this.found, h("p", { class: "empty" }, "Show a card to the camera, or choose a picture of one."));
  }

  #typed(event) {
    event.preventDefault();
    const text = this.text.value.trim();
    this.#read((more) => api.readCardText(text, more));
  }

  #read(ask, again) {
    fill(this.found);
    this.status.run("Reading the card…", async (more) => this.#show((await ask(more)).cards, more), again).then((done) => {
      if (done) this.found.querySelector("h3")?.focus();
    });
  }

  /** Frames of the camera, until one of them has a card. */
  async #scan() {
    const detector = await barcodes();
    const cards = await scan("Show the card", "Hold the card flat and close to the camera. It is read as soon as it is sharp.", async (frame, signal) => {
      try {
        if (!detector) return (await api.readCard(frame, { signal })).cards;
        const [code] = await detector.detect(await createImageBitmap(frame));
        return code ? (await api.readCardText(code.rawValue, { signal })).cards : null;
      } catch (error) {
        if (error.type === "no-card") return null;
        if (error.type === "not-a-card") throw new Error("This QR code is not a card.");
        throw error;
      }
    });
    if (cards) this.#read(async () => ({ cards }));
    return null;
  }

  async #show(cards, more) {
    const shown = await Promise.all(cards.map((card) => one(card, more)));
    const several = cards.length > 1 && h("p", { class: "notice" }, `There are ${cards.length} cards in the picture. Make sure that you look at the right one.`);
    fill(this.found, several, shown);
  }
}

/** A card: the state of its signature before everything else, for only a valid one says anything. */
async function one(card, more) {
  const { word, kind, icon: sign, text } = STATES[card.state];
  const title = unique("state");
  const face = h("img", { class: "face", width: 256, height: 256, alt: "The face on the card" });
  const problem = new Status();
  if (card.payload) {
    try {
      show(face, await api.reconstruct({ payload: card.payload }, more));
    } catch (error) {
      if (more.signal.aborted) throw error;
      problem.fail(error);
    }
  }
  const shown = Boolean(face.src);
  return h("article", { class: "card", "aria-labelledby": title },
    h("div", { class: `verdict ${kind}` }, icon(sign), h("div", {}, h("h3", { id: title, tabindex: "-1" }, word), h("p", {}, text))),
    h("div", { class: "says" },
      shown && h("figure", {}, face, h("figcaption", {}, `The face in the code, ${atob(card.payload).length} bytes`)),
      h("dl", {}, facts(card)),
    ),
    problem.element,
    !card.payload && h("p", { class: "notice" }, "There is no face in this card that this service can draw."),
    shown && new Decision(card).element,
  );
}

function facts(card) {
  const rows = Object.entries(card.claims).map(([name, value]) => [LABELS[name] ?? words(name), value]);
  if (card.expires) rows.push(["Valid until", day(new Date(new Date(card.expires) - 1000))]); // its end is the day's last second
  if (card.not_before) rows.push(["Valid from", day(new Date(card.not_before))]);
  if (card.issued) rows.push(["Issued", day(new Date(card.issued))]);
  rows.push(["Issuer", card.issuer ?? "not named"]);
  return rows.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", { dir: "auto" }, value)));
}

const words = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
const day = (date) => date.toISOString().slice(0, 10);

/** The browser's own reader of QR codes, which few have. */
async function barcodes() {
  const kinds = (await globalThis.BarcodeDetector?.getSupportedFormats().catch(() => [])) ?? [];
  return kinds.includes("qr_code") ? new BarcodeDetector({ formats: ["qr_code"] }) : null;
}
