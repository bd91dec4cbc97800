/** The views, and the one that the address names. */

import { create as check } from "./check.js";
import { create as compare } from "./compare.js";
import { fill, h } from "./dom.js";
import { create as enrol } from "./enrol.js";
import { create as latent } from "./latent.js";
import { create as models } from "./models.js";

const VIEWS = {
  enrol: { name: "Enrol", create: enrol },
  check: { name: "Check", create: check },
  compare: { name: "Compare", create: compare },
  latent: { name: "Latent", create: latent },
  models: { name: "Models", create: models },
};
const main = document.getElementById("main");
const links = Object.entries(VIEWS).map(([id, { name }]) => h("a", { href: `#${id}` }, name));
let current = null;

/** Show the view that the address names. A view is made when it is first shown, and keeps what is in it. */
function route({ focus }) {
  const id = location.hash.slice(1);
  if (id === "main") return; // the link that skips the navigation
  const found = Object.hasOwn(VIEWS, id) ? id : "enrol";
  const view = VIEWS[found];
  if (current === view) return;
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  current?.made.leave?.();
  view.made ??= view.create();
  fill(main, view.made.element);
  view.made.enter?.();
  current = view;
  document.title = `${view.name} · Cameo`;
  links.forEach((link) => (link.hash === `#${found}` ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current")));
  if (focus) {
    scrollTo(0, 0);
    main.querySelector("h1").focus({ preventScroll: true });
  }
}

fill(document.getElementById("views"), links.map((link) => h("li", {}, link)));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address stays that of the view
  main.focus();
});
addEventListener("hashchange", () => route({ focus: true }));
route({ focus: false });
