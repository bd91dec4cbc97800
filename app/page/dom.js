/** Small helpers for the DOM. Text goes in as text only: nothing here makes HTML from strings. */

/**
 * An element. `on…` attributes are listeners, `true` and `false` switch an attribute, null and undefined leave it out;
 * children are nodes, text, or lists of them, and false or null is nothing.
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...nodes(children));
  return element;
}

/** Put these children into an element, in place of what it has. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

const PATHS = {
  card: "M3 5.5h18v13H3zM6 9h4.5v5H6zM14 9h1.5v1.5H14zM17 9h1.5v1.5H17zM14 12.5h1.5V14H14zM17 12h1v2h-1M6 16.2h5",
  portrait: "M12 2.5c4.7 0 8 4.2 8 9.5s-3.3 9.5-8 9.5-8-4.2-8-9.5 3.3-9.5 8-9.5M12 7a3 3.3 0 1 0 0 6.6A3 3.3 0 1 0 12 7M6.5 18.8c.6-2 2.8-3 5.5-3s4.9 1 5.5 3",
  check: "M4 12.5l5 5L20 6.5",
  cross: "M6 6l12 12M18 6L6 18",
  warning: "M12 4l9 16H3zM12 10v4.5M12 17v.5",
  unknown: "M9 9.5a3 3 0 1 1 4.2 2.7c-.8.4-1.2 1-1.2 1.8v.5M12 17.5v.5",
  clock: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M12 7.5V12l3 2",
  camera: "M4 8h3l1.5-2.5h7L17 8h3v11H4zM12 10a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6",
};

/** A line drawing that says nothing which the text beside it does not say. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Show a picture that the service gave, and let go of the one before. */
export function show(image, blob) {
  const before = image.src;
  image.src = URL.createObjectURL(blob);
  if (before.startsWith("blob:")) URL.revokeObjectURL(before);
  return image;
}

/** Let the browser save a file. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

let last = 0;

/** An id that nothing else has, to tie a label or a hint to its field. */
export function unique(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}

/** A call that waits until it was not asked for again for `milliseconds`. */
export function debounce(milliseconds, action) {
  let timer;
  const later = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}
