/** Models: what is served, how good it is, and on what the service runs. */

import * as api from "./api.js";
import { catalogue, served } from "./catalogue.js";
import { fill, h } from "./dom.js";
import { Status } from "./status.js";

export function create() {
  const view = new Models();
  return { element: view.element, enter: () => view.enter() };
}

class Models {
  constructor() {
    this.status = new Status();
    this.body = h("div", { class: "parts" });
    this.element = h("section", {},
      h("h1", { tabindex: "-1" }, "Models"),
      h("p", { class: "lead" }, "What this service has, and how good it was on people who were not trained on."),
      this.status.element, this.body);
  }

  enter() {
    this.status.run("Asking what is served…", async (more) => {
      const [answer, ready] = await Promise.all([catalogue(more), api.ready(more)]);
      fill(this.body,
        served(answer).map(model),
        answer.refused.length > 0 && h("section", { class: "panel" }, h("h2", {}, "Refused"),
          h("ul", { class: "warnings" }, answer.refused.map(({ name, version, reason }) => h("li", {}, `${name}/${version}: ${reason}`)))),
        h("section", { class: "panel" }, h("h2", {}, "The service"), h("dl", {}, facts(ready))));
    }, () => this.enter());
  }
}

function model({ name, version, isDefault, manifest, digest }) {
  const { quality, rates, portrait, licence, description, created } = manifest;
  return h("section", { class: "panel" },
    h("div", { class: "row" }, h("h2", {}, `${name}/${version}`), isDefault && h("span", { class: "tag" }, "default")),
    h("p", {}, `${description}.`),
    h("dl", { class: "figures" },
      pair("Payload", rates.length > 1 ? `${rates[0]} to ${rates.at(-1)} bytes` : `${rates[0].toLocaleString("en")} bytes`),
      pair("Portrait", `${portrait} × ${portrait} px`),
      pair(rates.length > 1 ? `Similarity at ${manifest.default_rate} bytes` : "Similarity", interval(quality.identity)),
      pair("PSNR", quality.psnr && `${quality.psnr.mean.toFixed(1)} dB`),
      pair("MS-SSIM", interval(quality.ms_ssim))),
    quality.rates?.length > 1 && byRate(quality.rates),
    h("details", {}, h("summary", {}, "How this was measured, licence, digest"),
      h("dl", {}, pair("Protocol", quality.protocol), pair("Licence", licence), pair("Published", created.slice(0, 10)), pair("Digest", h("code", {}, digest)))));
}

function byRate(rates) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Quality by size" },
    h("p", { class: "soft" }, "Means by size, without search. Similarity: cosine of the recogniser SFace, 1 is the photo itself."),
    h("table", {},
      h("thead", {}, h("tr", {}, ["Bytes", "Similarity"].map(head), h("td", { class: "bar-cell" }), ["PSNR", "MS-SSIM"].map(head))),
      h("tbody", {}, rates.map(({ bytes, identity, psnr, ms_ssim }) => h("tr", {},
        h("th", { scope: "row" }, bytes.max.toFixed(0)),
        h("td", {}, identity.mean.toFixed(2)),
        h("td", { class: "bar-cell", "aria-hidden": "true" }, bar(identity.mean)),
        h("td", {}, `${psnr.mean.toFixed(1)} dB`),
        h("td", {}, ms_ssim.mean.toFixed(3)))))));
}

function head(text) {
  return h("th", { scope: "col" }, text);
}

function bar(share) {
  const element = h("span", { class: "share" });
  element.style.setProperty("width", `${100 * Math.max(0, share)}%`);
  return element;
}

function facts({ device, device_reason, workers, effort, effort_reason, card_issuer }) {
  return [
    pair("Runs on", `${device} (${device_reason})`),
    pair("At once", `${workers} ${workers === 1 ? "request" : "requests"}`),
    pair("Effort", `${effort} (${effort_reason})`),
    pair("Signs cards as", card_issuer ?? "nobody: it has no key"),
  ];
}

function interval(figure) {
  return figure && `${figure.mean.toFixed(3)} (${figure.low.toFixed(3)} to ${figure.high.toFixed(3)})`;
}

function pair(label, value) {
  return value ? h("div", {}, h("dt", {}, label), h("dd", {}, value)) : null;
}
