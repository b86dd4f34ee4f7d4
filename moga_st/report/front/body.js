// A number a joint, on a body that faces the reader: the person's left is at the reader's right.
"use strict";

const PLACES = { // Human3.6M's joints in a 300 x 342 picture
  Hip: [150, 165], RHip: [122, 170], RKnee: [114, 235], RFoot: [110, 300], LHip: [178, 170], LKnee: [186, 235], LFoot: [190, 300],
  Spine: [150, 125], Thorax: [150, 82], "Neck/Nose": [150, 54], Head: [150, 24], LShoulder: [190, 88], LElbow: [226, 130], LWrist: [252, 172],
  RShoulder: [110, 88], RElbow: [74, 130], RWrist: [48, 172],
};

const LABELS = { Hip: [0, 24, "middle"], Thorax: [0, 21, "middle"], Spine: [12, 14, "start"] }; // where the body leaves room

moga.draws.body = (section, node) => {
  const names = Object.keys(section.metrics);
  const holder = moga.el("div", { class: "body" }), note = moga.el("p", { class: "note" });
  const draw = (metric) => {
    const rows = section.metrics[metric], values = rows.model;
    const known = section.joints.map((joint) => values[joint]).filter((v) => v !== null && v !== undefined);
    const most = Math.max(...known), least = Math.min(...known);
    const spoken = section.joints.map((joint) => `${joint} ${moga.number(values[joint])}`).join(", ");
    const svg = moga.el("svg:svg", { viewBox: "0 0 300 342", role: "img", "aria-label": `${metric} by joint: ${spoken}` });
    const at = (joint) => PLACES[joint] ?? [150, 165];
    section.bones.forEach(([a, b]) => {
      const [[x1, y1], [x2, y2]] = [at(section.joints[a]), at(section.joints[b])];
      svg.append(moga.el("svg:line", { x1, y1, x2, y2, stroke: "var(--line)", "stroke-width": 7, "stroke-linecap": "round" }));
    });
    section.joints.forEach((joint) => {
      const [x, y] = at(joint), value = values[joint];
      const share = most > least ? (value - least) / (most - least) : 0;
      svg.append(moga.el("svg:circle", { cx: x, cy: y, r: 6 + 7 * share, fill: `color-mix(in srgb, var(--warn) ${Math.round(100 * share)}%, var(--s7))` }));
      const [dx, dy, anchor] = LABELS[joint] ?? (x < 150 ? [-16, 4, "end"] : [16, 4, "start"]);
      svg.append(moga.el("svg:text", { x: x + dx, y: y + dy, "text-anchor": anchor }, value === undefined || value === null ? "–" : String(+value.toPrecision(3))));
    });
    svg.append(moga.el("svg:text", { x: 4, y: 336 }, "R: the person's right"), moga.el("svg:text", { x: 296, y: 336, "text-anchor": "end" }, "L: the person's left"));
    const others = Object.keys(rows);
    const table = moga.el("div");
    moga.draws.table({
      title: metric, columns: [{ name: "joint" }, ...others.map((name) => ({ name, bar: name === "model" }))],
      rows: section.joints.map((joint) => ({ cells: [joint, ...others.map((name) => rows[name][joint])] })),
    }, table);
    note.textContent = moga.meaning(section, metric);
    holder.replaceChildren(svg, table);
  };
  if (names.length > 1) node.append(moga.tabs(names, (i) => draw(names[i]), "Metric"));
  node.append(note, holder);
  draw(names[0]);
};
