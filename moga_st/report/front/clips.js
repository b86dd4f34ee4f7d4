// Predicted clips: truth, prediction and error side by side, with one slider over the frames; and all frames as a strip.
"use strict";

/** Pictures as what a canvas draws, decoded once. */
moga.decode = (pack) => {
  pack.ready ??= Promise.all(pack.images.map((image) => createImageBitmap(new Blob([moga.bytes(image)], { type: pack.type }))));
  return pack.ready;
};

moga.draws.clips = (section, node) => {
  let example = section.examples[0], channel = 0, rows = null, drawn = 0;
  const panels = moga.el("div", { class: "panels" });
  const strip = moga.el("div", { class: "strip", tabindex: 0, role: "region", "aria-label": "All frames" });
  const title = moga.el("h3", {});
  const channels = moga.el("div");

  const parts = () => example.channels[channel].rows;
  const describe = (i) => {
    const lead = i - example.inputs + 1;
    const place = example.times ? `${example.times[i]} · ` : "";
    return `${place}frame ${i + 1} of ${example.frames}, ${lead > 0 ? `predicted ${lead} ahead` : "input"}`;
  };
  const show = (i) => {
    if (!rows) return;
    for (const panel of panels.children) {
      const { name, role, images } = rows[panel.dataset.row];
      const canvas = panel.querySelector("canvas"), pen = canvas.getContext("2d");
      pen.clearRect(0, 0, canvas.width, canvas.height);
      const input = i < example.inputs;
      const image = input ? (role === "error" ? null : rows.input.images[i]) : images[i - example.inputs];
      if (image) pen.drawImage(image, 0, 0, canvas.width, canvas.height);
      panel.querySelector(".name").textContent = input && image ? `${name} (input so far)` : !image && role !== "error" ? `${name} (not known here)` : name;
      canvas.setAttribute("aria-label", `${name}, ${describe(i)}`);
    }
    paintStrip(i);
  };
  const save = moga.el("button", { class: "do", type: "button", onclick: () => moga.savePicture(composite(panels, example.title, player.at()), `${example.title} frame ${player.at() + 1}`) }, "Save picture");
  const player = moga.player(node, show, describe, [save]);

  const paintStrip = (now) => {
    const canvas = strip.querySelector("canvas");
    if (!canvas || !rows) return;
    const [side, tall, gap] = [canvas.side, canvas.tall, 3], pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    canvas.lines.forEach((line, r) => line.forEach((image, i) => image && pen.drawImage(image, i * (side + gap), r * (tall + gap), side, tall)));
    pen.strokeStyle = "#0b66c3";
    pen.lineWidth = 3;
    pen.strokeRect(now * (side + gap) - 1, 0, side + 2, canvas.height);
    const left = now * (side + gap); // a strip wider than the screen is moved to where its frame is
    if (left < strip.scrollLeft || left + side > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = left - (strip.clientWidth - side) / 2;
  };
  const layStrip = () => {
    const first = rows.input.images[0];
    const lines = [[...rows.input.images, ...(rows.truth?.images ?? [])]];
    const rest = Object.values(rows).filter((row) => row.role === "prediction" || row.role === "error");
    rest.forEach((row) => lines.push([...Array(example.inputs).fill(null), ...row.images]));
    const fitting = Math.floor((strip.clientWidth || 900) / example.frames) - 3;
    const side = Math.max(32, Math.min(72, fitting)), tall = Math.round(side * first.height / first.width);
    const canvas = moga.el("canvas", {
      width: example.frames * (side + 3) - 3, height: lines.length * (tall + 3) - 3, role: "img",
      "aria-label": `All frames from left to right; rows from above: input and truth, ${rest.map((row) => row.name).join(", ")}`,
      onclick: (event) => { player.stop(); player.go(Math.floor(event.offsetX / (side + 3))); },
    });
    Object.assign(canvas, { side, tall, lines });
    strip.replaceChildren(canvas);
  };
  const load = async () => {
    const mine = ++drawn;
    const found = {};
    for (const row of parts()) found[row.name] = { name: row.name, role: row.role, images: await moga.decode(row.frames) };
    if (mine !== drawn) return; // another one was picked meanwhile
    rows = found;
    const smooth = rows.input.images[0].width > 160 ? " smooth" : "";
    strip.className = `strip${smooth}`;
    panels.replaceChildren(...Object.values(rows).filter((row) => row.name !== "input").map((row) => moga.el("div", { class: `panel${smooth}`, "data-row": row.name },
      moga.el("div", { class: "name" }, row.name),
      moga.el("canvas", { width: rows.input.images[0].width, height: rows.input.images[0].height, role: "img", "aria-label": row.name }))));
    layStrip();
    if (!player.at()) player.start(example.inputs);
    player.reset(example.frames, example.fps, Array.from({ length: example.frames }, (_, i) => (i < example.inputs ? 0 : 1)));
    node.dataset.ready = String(mine);
  };
  const pick = (i) => {
    example = section.examples[i];
    channel = 0;
    title.textContent = example.title;
    title.hidden = example.title === document.title; // the page's own name is above already
    channels.replaceChildren(...(example.channels.length > 1 ? [moga.tabs(example.channels.map((c) => c.name), (k) => { channel = k; load(); }, "Channel")] : []));
    load();
  };
  if (section.examples.length > 1) node.append(moga.tabs(section.examples.map((e) => e.name), pick, "Example"));
  node.append(title, channels, panels, player.node, strip);
  if (section.examples.some((e) => e.channels[0].rows.some((r) => r.role === "error"))) {
    node.append(moga.el("p", { class: "note" }, "Error: white where equal, red where the prediction is too high, blue where it is too low. The strip shows all frames, rows from above as the panels", moga.el("span", { class: "screen" }, "; pick one to see it large"), "."));
  }
  pick(0);
};

/** The panels as one picture with their names. */
const composite = (panels, title, frame) => {
  const canvases = [...panels.querySelectorAll("canvas")];
  const scale = Math.max(1, Math.round(240 / canvases[0].width)), wide = canvases[0].width * scale, tall = canvases[0].height * scale;
  const out = moga.el("canvas", { width: canvases.length * (wide + 8) - 8, height: tall + 50 }), pen = out.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, out.width, out.height);
  pen.fillStyle = "#1b2430";
  pen.font = "15px system-ui, sans-serif";
  pen.fillText(`${title}, frame ${frame + 1}`, 4, 18, out.width - 8);
  pen.imageSmoothingEnabled = canvases[0].width > 160;
  [...panels.children].forEach((panel, i) => {
    pen.fillText(panel.querySelector(".name").textContent, i * (wide + 8) + 4, 42, wide - 8);
    pen.drawImage(canvases[i], i * (wide + 8), 50, wide, tall);
  });
  return out;
};
