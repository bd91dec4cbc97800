/** Whether the service answers: a banner while it does not, and a look every few seconds until it does again. */

import { fill, h } from "./dom.js";

const SECONDS = 2;
const banner = document.getElementById("connection");
let gone = false;
let timer;

/** A request got no answer; `probe` is the address that says when there are answers again. */
export function lost(probe) {
  if (gone) return;
  gone = true;
  banner.hidden = false;
  banner.classList.remove("good");
  fill(banner, h("strong", {}, "The service does not answer. "), "Trying again until it does; nothing here is lost.");
  timer = setInterval(() => look(probe), SECONDS * 1000);
}

/** A request got an answer. */
export function answered() {
  if (!gone) return;
  gone = false;
  clearInterval(timer);
  banner.classList.add("good");
  fill(banner, h("strong", {}, "The service answers again."));
  setTimeout(() => {
    if (!gone) banner.hidden = true;
  }, 4000);
  document.dispatchEvent(new Event("service-back"));
}

async function look(probe) {
  try {
    await fetch(probe, { cache: "no-store" });
    answered();
  } catch {
    // not yet
  }
}
