/** Whether a photo shows the person of a card: the decision, and what it rests on. */

import * as api from "./api.js";
import { fill, h, icon, unique } from "./dom.js";
import { Picker } from "./photo.js";
import { Status } from "./status.js";

const RATES = [
  [0.01, "1 of 100 other people would pass"],
  [0.001, "1 of 1,000 other people would pass"],
  [0.0001, "1 of 10,000 other people would pass"],
];

const DECISIONS = {
  match: { kind: "good", sign: "check", title: "The same person", text: "The photo shows the person on the card." },
  "no-match": { kind: "bad", sign: "cross", title: "Not the same person", text: "Look at both, and ask for another document." },
  "card-not-valid": {
    kind: "bad", sign: "cross", title: "No match: the card is not valid",
    text: "However alike the two faces are, a card that is not valid says nothing about who it is.",
  },
};

export class Decision {
  #photo = null;
  #card;

  constructor(card) {
    this.#card = card;
    const id = unique("verify");
    this.status = new Status();
    this.rate = h("select", { id: `${id}-rate`, onchange: () => this.#photo && this.#decide() },
      RATES.map(([value, text]) => h("option", { value, selected: value === 0.001 }, text)));
    this.picker = new Picker({ label: "Choose a photo", hint: "A photo that was taken now. Or drop it here, or paste it.", onphoto: (photo) => this.#begin(photo) });
    this.outcome = h("div", { class: "outcome", "aria-live": "polite" });
    this.element = h("section", { class: "verify", "aria-labelledby": id },
      h("h3", { id }, "Is this the person?"),
      h("div", { class: "columns even" },
        this.picker.element,
        h("div", { class: "outcome" },
          h("div", { class: "field" }, h("label", { for: this.rate.id }, "How strict"), this.rate),
          this.status.element,
          this.outcome)),
      h("p", { class: "soft" }, "Two pictures are compared. Whether a living person stands there, or a photo is held up, is for you to see."),
    );
  }

  #begin(photo) {
    this.#photo = photo;
    this.#decide();
  }

  #decide() {
    fill(this.outcome);
    this.status.run("Comparing the faces…", async (more) => {
      const found = await api.verify(this.#photo, this.#card.text, { fmr: this.rate.value }, more);
      this.picker.mark(found.frame.box);
      fill(this.outcome, this.#words(found));
    }, () => this.#decide());
  }

  #words(found) {
    const { decision, score, threshold, recogniser, warnings, frame } = found;
    const { kind, sign, title, text } = DECISIONS[decision];
    const doubts = warnings.map(({ detail }) => detail);
    if (frame.faces > 1) doubts.unshift(`There are ${frame.faces} faces in the photo. The most prominent one was compared: it is marked.`);
    return [
      h("div", { class: `verdict ${kind}` }, icon(sign), h("div", {}, h("h4", {}, title), h("p", {}, text))),
      scale(score, threshold),
      doubts.length > 0 && h("ul", { class: "warnings" }, doubts.map((text) => h("li", {}, icon("warning"), text))),
      h("p", { class: "soft" }, `Recogniser ${recogniser.name}.`),
    ];
  }
}

/** The score beside the threshold that it had to reach. */
function scale(score, threshold) {
  const id = unique("score");
  const mark = h("span", { class: "threshold", "aria-hidden": "true" });
  mark.style.setProperty("left", `${100 * Math.max(0, threshold)}%`);
  return h("div", { class: "scale" },
    h("div", { class: "row" }, h("span", { id }, "Score"), h("b", {}, `${score.toFixed(2)}, at least ${threshold.toFixed(2)} is asked for`)),
    h("div", { class: "track" }, h("meter", { min: 0, max: 1, low: threshold, high: threshold, optimum: 1, value: Math.max(0, score), "aria-labelledby": id }), mark),
  );
}
