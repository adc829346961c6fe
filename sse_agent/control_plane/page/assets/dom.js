// Elements from values. Text is only ever set as text.

/** An element. Of `properties`: `class`, `text`, `on…` listeners, booleans and attributes; null leaves one out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text of an element, only if it is another one: screen readers and selections are left in peace. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Attributes of an element, only where they change; null takes one away. */
export function mark(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
  }
}

/** A random ID; `crypto.randomUUID` is there on secure pages only. */
export function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Asks in a dialog; true if the answer is yes. Escape and the other button mean no. */
export function ask(root, { title, text, yes, isGrave = false }) {
  return new Promise((resolve) => {
    const words = typeof text === "string" ? h("p", { text }) : text;
    const no = h("button", { type: "button", class: "plain", text: "Not now" });
    const go = h("button", { type: "button", class: isGrave ? "grave" : "main", text: yes });
    const heading = h("h2", { text: title, id: "asked" });
    const dialog = h("dialog", { "aria-labelledby": "asked" }, heading, words, h("div", { class: "buttons" }, no, go));
    const end = (answer) => { dialog.close(); dialog.remove(); resolve(answer); };
    no.addEventListener("click", () => end(false));
    go.addEventListener("click", () => end(true));
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); end(false); });
    root.append(dialog);
    dialog.showModal();
    (isGrave ? no : go).focus();
  });
}
