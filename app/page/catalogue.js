/** What the service has: its models, asked for once until the service was away. */

import { models } from "./api.js";

let asked = null;

document.addEventListener("service-back", () => {
  asked = null;
});

/** The answer of /models. */
export function catalogue(more) {
  asked ??= models(more).catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

/** Default versions, the store's default model first. */
export function served({ models: all }) {
  const versions = all.map((model) => ({ ...model.versions.find((version) => version.default), isDefault: model.default }));
  return versions.sort((a, b) => b.isDefault - a.isDefault);
}

/** The first model of this kind, the store's default before others; null without one. */
export function firstOf(kind, answer) {
  return served(answer).find((version) => version.manifest.model.kind === kind) ?? null;
}
