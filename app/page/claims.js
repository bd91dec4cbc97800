/** The form with what a card says of a person. Names are those of Claim 169. */

import { h, unique } from "./dom.js";

const COMMON = [
  { name: "full_name", label: "Name", maxlength: 100, dir: "auto", wide: true },
  { name: "date_of_birth", label: "Date of birth", type: "date" },
  { name: "gender", label: "Sex", choices: ["female", "male", "other"] },
  { name: "nationality", label: "Nationality", maxlength: 3, pattern: "[A-Za-z]{2,3}", hint: "Code of two or three letters, as KE" },
  { name: "id", label: "Number", maxlength: 100, hint: "Of the person, or of the card" },
];
const MORE = [
  { name: "secondary_full_name", label: "Name in another language", maxlength: 100, dir: "auto", wide: true },
  { name: "language", label: "Language of the name", maxlength: 3, pattern: "[A-Za-z]{2,3}", hint: "Code, as eng or ara" },
  { name: "secondary_language", label: "Other language", maxlength: 3, pattern: "[A-Za-z]{2,3}", hint: "Code, as eng or ara" },
  { name: "phone", label: "Phone", type: "tel", maxlength: 100 },
  { name: "email", label: "E-mail", type: "email", maxlength: 100 },
];

/** `onmake(claims, expires)` when the form is sent, with what is filled in. */
export class ClaimsForm {
  constructor(onmake, { action }) {
    this.expires = { name: "expires", label: "Last day on which it is valid", type: "date" };
    this.element = h(
      "form",
      { class: "claims", autocomplete: "off", onsubmit: (event) => this.#send(event, onmake) },
      h("div", { class: "fields" }, [...COMMON, this.expires].map(field)),
      h("details", {}, h("summary", {}, "More to sign"), h("div", { class: "fields" }, MORE.map(field))),
      action,
    );
  }

  /** Say which field the service does not take, and go there; false where it is none of these. */
  refuse(parameter, sentence) {
    const input = this.element.elements.namedItem((parameter ?? "").replace(/^claims\./, ""));
    if (!input?.name) return false;
    input.closest("details")?.setAttribute("open", "");
    input.setCustomValidity(sentence);
    input.reportValidity();
    input.addEventListener("input", () => input.setCustomValidity(""), { once: true });
    return true;
  }

  #send(event, onmake) {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(this.element)].filter(([, value]) => value.trim()));
    const { expires, ...claims } = given;
    onmake(claims, expires);
  }
}

function field({ name, label, choices, hint, wide, ...attributes }) {
  const id = unique(name);
  const described = hint && `${id}-hint`;
  const common = { id, name, "aria-describedby": described };
  const input = choices
    ? h("select", common, h("option", { value: "" }, "not stated"), choices.map((choice) => h("option", {}, choice)))
    : h("input", { type: "text", ...attributes, ...common });
  return h("div", { class: wide ? "field wide" : "field" }, h("label", { for: id }, label), input, hint && h("p", { id: described, class: "hint" }, hint));
}
