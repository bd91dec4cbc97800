/** A card to print, of a payload and what the form says; or why this service makes none. */

import * as api from "./api.js";
import { ClaimsForm } from "./claims.js";
import { fill, h, save, show } from "./dom.js";
import { Status } from "./status.js";

const FILES = [
  ["PDF", "application/pdf", "card.pdf", {}],
  ["PNG, 300 dpi", "image/png", "card-300.png", { dpi: 300 }],
  ["PNG, 600 dpi", "image/png", "card-600.png", { dpi: 600 }],
  ["SVG", "image/svg+xml", "card.svg", {}],
  ["Text of the code", "text/plain", "card.txt", {}],
];

export class CardMaker {
  #payload = null;
  #made = null; // what the card on show was made of

  constructor() {
    this.status = new Status();
    this.button = h("button", { class: "primary", disabled: true }, "Make the card");
    this.form = new ClaimsForm((claims, expires) => this.#make(claims, expires), { action: h("div", { class: "actions" }, this.button) });
    this.issuer = h("p", { class: "soft" });
    this.image = h("img", { class: "card-picture", width: 856, height: 540, alt: "The card as it is printed" });
    this.files = FILES.map(([name, ...file]) => h("button", { type: "button", onclick: () => this.#save(...file) }, name));
    this.made = h("div", { class: "made", hidden: true },
      this.image,
      h("div", { class: "actions" }, h("button", { type: "button", class: "primary", onclick: () => print() }, "Print"), this.files),
      h("p", { class: "soft" }, "85.6 by 54 mm, the size of a bank card. Print at 100%, without fitting to the page."),
    );
    this.desk = h("div", { class: "desk" }, h("div", {}, this.form.element, this.issuer), h("div", {}, this.status.element, this.made));
    this.none = h("div", { class: "notice", hidden: true },
      h("p", {}, h("strong", {}, "This service has no key to sign cards with, so it makes none.")),
      h("p", {}, "The payload and the QR code above work without one. Whoever runs the service makes a key, and names it at the next start:"),
      h("pre", { tabindex: "0" }, "cameo key https://office.example -o keys\nCAMEO_CARD_KEY=keys/office.example.key.pem python -m app"),
    );
    this.element = h("div", {}, this.none, this.desk);
  }

  /** Look whether this service signs. */
  async enter() {
    const found = await api.ready().catch(() => null);
    if (!found) return;
    this.none.hidden = Boolean(found.card_issuer);
    this.desk.hidden = !found.card_issuer;
    fill(this.issuer, "Signed in the name of ", h("b", {}, found.card_issuer), ".");
  }

  /** The payload of the card; null while there is none. */
  set(payload) {
    if (payload === this.#payload) return;
    this.#payload = payload;
    this.button.disabled = !payload;
    this.status.stop();
    this.status.clear();
    this.made.hidden = true;
  }

  #make(claims, expires) {
    const wanted = { payload: this.#payload, claims, expires };
    this.made.hidden = true;
    this.status.run("Signing and drawing the card…", async (more) => {
      try {
        show(this.image, await this.#file(wanted, "image/svg+xml", {}, more));
      } catch (error) {
        if (error.type === "invalid-parameter" && this.form.refuse(error.facts.parameter, error.message)) return;
        throw error;
      }
      this.#made = wanted;
      this.image.alt = `The card as it is printed${claims.full_name ? `, of ${claims.full_name}` : ""}`;
      this.made.hidden = false;
    });
  }

  #save(type, name, query) {
    this.status.run("Drawing the file…", async (more) => save(await this.#file(this.#made, type, query, more), name));
  }

  #file({ payload, claims, expires }, type, query, more) {
    return api.card(payload, claims, type, { expires, ...query }, more);
  }
}
