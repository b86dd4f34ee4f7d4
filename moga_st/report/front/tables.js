// Sections of words and numbers.
"use strict";

moga.draws.tiles = (section, node) => {
  const list = moga.el("dl", { class: "tiles" });
  node.append(list);
  const fill = (s) => list.replaceChildren(...s.tiles.map(([name, value, more]) => moga.el("div", {},
    moga.el("dt", {}, name), moga.el("dd", {}, moga.number(value), more ? moga.el("small", {}, more) : null))));
  fill(section);
  const notes = moga.el("div");
  node.append(notes);
  const warn = (s) => notes.replaceChildren(...(s.warnings ?? []).map((w) => moga.el("div", { class: "warning" }, w)));
  warn(section);
  return (s) => { fill(s); warn(s); return true; };
};

/** Pages beside this one: names of files alone, never another place. */
moga.draws.links = (section, node) => {
  node.append(moga.el("ul", {}, section.links.filter(([, file]) => /^[\w][\w.-]*\.html$/.test(file)).map(([name, file]) => moga.el("li", {}, moga.el("a", { href: `./${file}` }, name)))));
};

moga.draws.facts = (section, node) => {
  for (const group of section.groups) {
    const list = moga.el("dl", { class: "facts" }, group.rows.map(([name, value]) => [moga.el("dt", {}, name), moga.el("dd", {}, moga.number(value))]));
    if (!group.title) node.append(list);
    else node.append(moga.el("details", { class: "print", open: group.open ?? false }, moga.el("summary", {}, group.title), list));
  }
  if (section.json) {
    node.append(moga.el("details", {}, moga.el("summary", {}, section.json.title), moga.el("pre", { tabindex: 0 }, section.json.text)));
  }
};

moga.draws.pictures = (section, node) => {
  node.append(moga.el("div", { class: "pictures" }, section.pictures.map((picture) => {
    const url = URL.createObjectURL(new Blob([moga.bytes(picture)], { type: picture.type }));
    return moga.el("figure", {}, moga.el("figcaption", {}, picture.title), moga.el("img", { src: url, alt: picture.alt }));
  })));
};

/** Columns: {name, title?, words?, low?: is low better, bar?}; rows: {cells, group?, kind?}. Sorted by a column's button. */
moga.draws.table = (section, node) => {
  let by = null, up = true;
  const body = moga.el("tbody");
  const heads = section.columns.map((column, c) => moga.el("th", { scope: "col", class: column.words ? "words" : null, title: column.title ?? null },
    section.rows.length > 1
      ? moga.el("button", { class: "sort", type: "button", onclick: () => { up = by === c ? !up : true; by = c; fill(); } }, column.name)
      : column.name));
  const largest = section.columns.map((column, c) => column.bar ? Math.max(...section.rows.map((r) => Math.abs(r.cells[c]) || 0)) : 0);
  const cell = (row, column, c) => {
    const value = row.cells[c];
    if (c === 0) {
      const name = row.group ? [moga.el("span", { class: "badge", title: `protocol ${row.group}` }, row.group), " ", value] : [value];
      return moga.el("th", { scope: "row", class: row.group ? "one" : null }, name);
    }
    const best = row.best?.includes(c);
    const inside = [moga.number(value)];
    if (best) inside.push(moga.el("span", { class: "hidden" }, " (best of its protocol)"));
    if (largest[c] && typeof value === "number") {
      const bar = moga.el("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = `${100 * Math.abs(value) / largest[c]}%`;
      inside.push(bar);
    }
    return moga.el("td", { class: [column.words ? "words" : "", best ? "best" : ""].join(" ").trim() || null }, inside);
  };
  const fill = () => {
    heads.forEach((head, c) => head.setAttribute("aria-sort", c !== by ? "none" : up ? "ascending" : "descending"));
    const rows = [...section.rows];
    if (by !== null) {
      const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      rows.sort((a, b) => {
        const [x, y] = [a.cells[by], b.cells[by]];
        const missing = [x, y].map((v) => v === null || v === undefined);
        if (missing[0] || missing[1]) return missing[0] - missing[1];
        return (up ? 1 : -1) * order(x, y);
      });
    }
    body.replaceChildren(...rows.map((row) => moga.el("tr", { class: row.kind ?? null }, section.columns.map((column, c) => cell(row, column, c)))));
  };
  fill();
  node.append(moga.el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${section.title}, table` },
    moga.el("table", {}, section.caption ? moga.el("caption", {}, section.caption) : null, moga.el("thead", {}, moga.el("tr", {}, heads)), body)));
  for (const warning of section.warnings ?? []) node.append(moga.el("div", { class: "warning" }, warning));
  if (section.conventions?.length) {
    node.append(moga.el("details", { class: "print" }, moga.el("summary", {}, "What the columns mean"),
      moga.el("dl", { class: "facts" }, section.conventions.map(([name, text]) => [moga.el("dt", {}, name), moga.el("dd", {}, text)]))));
  }
};
