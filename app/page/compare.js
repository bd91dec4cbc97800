import { h } from "./dom.js";

export function create() {
  return { element: h("section", {}, h("h1", { tabindex: "-1" }, "compare")) };
}
