/** The API key of this tab, where the service wants one. It is kept until the tab is closed, and never longer. */

import { h, unique } from "./dom.js";

const NAME = "cameo-api-key";
const forget = document.getElementById("key");
let asking = null;

export const storedKey = () => sessionStorage.getItem(NAME);

/** Whether a key was given. Several requests that fail at the same time ask once. */
export function askForKey(reason) {
  asking ??= open(reason).finally(() => {
    asking = null;
  });
  return asking;
}

function open(reason) {
  const id = unique("key");
  const field = h("input", { id, type: "password", autocomplete: "off", required: true, spellcheck: "false",
    pattern: "\\s*[\\x21-\\x7e]+\\s*", title: "Letters, digits and signs of ASCII, without spaces" }); // no header can have others
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: `${id}-title` }, "This service needs an API key"),
    h("p", {}, storedKey() ? `The key was refused: ${reason}.` : "Whoever runs the service gives one to each user."),
    h("p", { class: "soft" }, "It stays in this tab only, is sent to this service only, and is gone when the tab is closed."),
    h("label", { for: id }, "API key"),
    field,
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      h("button", { class: "primary", value: "use" }, "Use this key"),
    ),
  );
  const dialog = h("dialog", { "aria-labelledby": `${id}-title` }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "use" && field.value.trim();
      if (given) sessionStorage.setItem(NAME, field.value.trim());
      dialog.remove();
      update();
      resolve(Boolean(given));
    });
  });
}

function update() {
  forget.hidden = !storedKey();
}

forget.addEventListener("click", () => {
  sessionStorage.removeItem(NAME);
  update();
});
update();
