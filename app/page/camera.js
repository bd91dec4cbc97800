/** The camera, in a dialog: one photo, or frames until one of them will do. */

import { fill, h, icon, unique } from "./dom.js";
import { pause } from "./api.js";

const QUALITY = 0.92;
const BETWEEN = 400; // milliseconds between two frames that are looked at

/** A photo as a JPEG; null where the dialog was closed without one. */
export function takePhoto() {
  return open({ title: "Take a photo", facing: "user", hint: "Look straight ahead, with light on the face." }, ({ video, done, actions }) => {
    const take = async () => done(await frame(video));
    const button = h("button", { type: "button", class: "primary", onclick: take }, icon("camera"), "Take the photo");
    actions.append(button);
    button.focus();
  });
}

/**
 * Frames of the camera at the back go to `look(frame, signal)` until it gives something; null where the dialog was
 * closed before. A sentence that `look` throws is shown, and it goes on.
 */
export function scan(title, hint, look) {
  return open({ title, facing: "environment", hint, wide: true }, async ({ video, done, say, signal }) => {
    while (!signal.aborted) {
      try {
        const found = await look(await frame(video), signal);
        if (found) return done(found);
        say("");
      } catch (error) {
        if (signal.aborted) return undefined;
        say(error.message);
      }
      await pause(BETWEEN);
    }
    return undefined;
  });
}

async function open({ title, facing, hint, wide = false }, use) {
  const id = unique("camera");
  const video = h("video", { autoplay: true, playsinline: true, muted: true, "aria-label": "What the camera sees" });
  video.muted = true; // the attribute alone does not do it
  const message = h("p", { role: "status", "aria-live": "polite", class: "soft" }, "Waiting for the camera. The browser may ask whether this page may use it.");
  const actions = h("div", { class: "actions" });
  const controller = new AbortController();
  let result = null;
  const done = (found) => {
    result = found;
    dialog.close();
  };
  const stage = h("div", { class: wide ? "stage wide" : "stage", hidden: true }, video, h("div", { class: "guide" }));
  const dialog = h(
    "dialog",
    { class: "camera", "aria-labelledby": id },
    h("h2", { id }, title),
    stage,
    message,
    actions,
  );
  actions.append(h("button", { type: "button", onclick: () => dialog.close() }, "Close"));
  document.body.append(dialog);
  dialog.showModal();
  const closed = new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  let stream;
  start(facing, video).then(
    (found) => {
      stream = found;
      if (controller.signal.aborted) return stop(stream);
      stage.hidden = false;
      fill(message, hint);
      return use({ video, done, actions, signal: controller.signal, say: (text) => fill(message, text || hint) });
    },
    (error) => {
      message.className = "notice";
      message.setAttribute("role", "alert");
      fill(message, h("strong", {}, why(error)[0]), " ", why(error)[1]);
    },
  );
  await closed;
  controller.abort();
  stop(stream);
  dialog.remove();
  return result;
}

async function start(facing, video) {
  if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "SecurityError");
  const size = { width: { ideal: 1280 }, height: { ideal: 960 } };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { facingMode: facing, ...size } });
  video.srcObject = stream;
  await video.play();
  return stream;
}

function stop(stream) {
  stream?.getTracks().forEach((track) => track.stop());
}

async function frame(video) {
  const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

function why(error) {
  switch (error.name) {
    case "NotAllowedError":
      return ["The camera was refused.", "Allow it for this page in the browser's settings, or choose a file instead."];
    case "NotFoundError":
    case "OverconstrainedError":
      return ["There is no camera.", "Connect one, or choose a file instead."];
    case "SecurityError":
      return ["The browser gives no camera to this page.", "It does so over https, or on this machine itself. Choose a file instead."];
    default:
      return ["The camera does not work.", "Another program may be using it. Close that, or choose a file instead."];
  }
}
