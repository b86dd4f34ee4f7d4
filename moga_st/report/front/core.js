// What all parts of the page share: data, elements, numbers, colours, and the list of what draws a section.
"use strict";
const moga = { draws: {}, redraws: new Set() };

/** A new element; attributes, properties of event handlers ("onclick") and children. Text is only ever set as text. */
moga.el = (tag, attributes = {}, ...children) => {
  const node = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
};

/** The bytes of what has a blob: a packed array, a picture. */
moga.bytes = (packed) => {
  const text = atob(packed.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
};

/** A packed array as a typed array with its shape. */
moga.array = (packed) => {
  const kinds = { f4: Float32Array, f8: Float64Array, i2: Int16Array, i4: Int32Array, u1: Uint8Array };
  const values = new kinds[packed.dtype](moga.bytes(packed).buffer);
  values.shape = packed.shape;
  return values;
};

/** A number with as many digits as mean something. */
moga.number = (value) => {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e7)) return value.toExponential(2);
  const digits = size < 1 ? 4 : size < 10 ? 3 : size < 100 ? 2 : 1;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
};

/** What a metric measures, as the result's own conventions say it. */
moga.meaning = (section, metric) => {
  const text = (section.conventions ?? []).find(([name]) => name === metric)?.[1];
  return text ? `${metric}: ${text}` : "";
};

/** The value of a CSS variable now: light, dark or print. */
moga.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
moga.series = (i) => moga.colour(`s${i % 8}`);

moga.calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Offer a canvas as a PNG file. */
moga.savePicture = (canvas, name) => {
  canvas.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    const link = moga.el("a", { href: url, download: `${name.replace(/[^\w.-]+/g, "_").slice(0, 80)}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }, "image/png");
};

/** Buttons of which one is chosen, also by arrows; Tab goes past them, as readers of a screen expect. */
moga.tabs = (names, choose, label) => {
  const buttons = names.map((name, i) =>
    moga.el("button", {
      class: "do", type: "button", role: "tab", "aria-selected": String(i === 0), tabindex: i === 0 ? 0 : -1, onclick: () => pick(i),
      onkeydown: (event) => {
        const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: -1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        buttons.at(to % names.length).focus();
        pick((to + names.length) % names.length);
      },
    }, name));
  const pick = (i) => {
    buttons.forEach((button, k) => { button.setAttribute("aria-selected", String(k === i)); button.tabIndex = k === i ? 0 : -1; });
    choose(i);
  };
  return moga.el("div", { class: "tabs", role: "tablist", "aria-label": label }, buttons);
};

moga.toggle = (text, action, pressed = false) => {
  const button = moga.el("button", {
    class: "do", type: "button", "aria-pressed": String(pressed),
    onclick: () => {
      const now = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(now));
      action(now);
    },
  }, text);
  return button;
};

moga.select = (label, options, action) => {
  const select = moga.el("select", { onchange: () => action(select.value) }, options.map(([value, text]) => moga.el("option", { value }, text)));
  return moga.el("label", {}, label, select);
};

/** Hand each blob to what names it, so that a section outlives its document. */
const resolve = (value, blobs) => {
  if (Array.isArray(value)) value.forEach((v) => resolve(v, blobs));
  else if (value && typeof value === "object") {
    if (typeof value.blob === "number") value.data = blobs[value.blob];
    Object.values(value).forEach((v) => resolve(v, blobs));
  }
};

const headerOf = (content, titles) => moga.el("header", {},
  moga.el("p", { class: "kicker" }, "moga_st report",
    document.body.dataset.mode === "watch" ? moga.el("span", { class: "live", id: "live", role: "status" }, " · live") : null),
  moga.el("h1", {}, content.title),
  content.subtitle ? moga.el("p", { class: "lead" }, content.subtitle) : null,
  titles.length > 2 ? moga.el("nav", { class: "contents", "aria-label": "Contents" },
    titles.map((title, i) => (title ? moga.el("a", { href: `#section-${i}` }, title) : null))) : null);

/** Draw the page; sections that are as they were stay, and those that can take new data keep their state. */
moga.draw = (content) => {
  resolve(content.sections, content.blobs);
  document.title = content.title;
  const before = moga.shown ?? [];
  moga.shown = content.sections.map((section) => {
    const old = before.find((o) => o.section.kind === section.kind && o.section.title === section.title);
    if (old && old.section.digest === section.digest) return old;
    if (old && old.update && old.update(section)) return { ...old, section };
    const node = moga.el("section", { class: "card", "aria-label": section.title || section.kind });
    if (section.title) node.append(moga.el("h2", {}, section.title));
    if (section.text) node.append(moga.el("p", { class: "note" }, section.text));
    return { section, node, update: moga.draws[section.kind](section, node) };
  });
  const gone = before.filter((o) => !moga.shown.some((n) => n.node === o.node));
  gone.forEach((o) => o.node.dispatchEvent(new Event("gone")));
  moga.shown.forEach((o, i) => { o.node.id = `section-${i}`; });
  if (before.length === moga.shown.length && !gone.length) return;
  const footer = moga.el("footer", {}, `Made ${content.made.time} by moga_st ${content.made.version}. Everything is in this file; it asks no network.`);
  const header = headerOf(content, content.sections.map((section) => section.title));
  document.getElementById("page").replaceChildren(header, ...moga.shown.map((o) => o.node), footer);
};

/** Have `draw` called again when colours change: dark mode, printing. */
moga.recolour = (node, draw) => {
  moga.redraws.add(draw);
  node.closest("section")?.addEventListener("gone", () => moga.redraws.delete(draw));
};
const recolourAll = () => moga.redraws.forEach((draw) => draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolourAll);
matchMedia("print").addEventListener("change", recolourAll);
addEventListener("beforeprint", () => document.querySelectorAll("details.print").forEach((d) => { d.open = true; }));
