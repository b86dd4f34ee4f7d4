// Lifted people: the 2D input beside the 3D stage, one slider for both.
"use strict";

const FAINT = 30; // per cent: a keypoint of less confidence is drawn hollow

/** The 2D side: the video, or an empty image, under everyone's keypoints. */
const flatOf = (section, canvas) => {
  let stage = null, images = null, people = [], frame = null;
  const load = async (fresh) => {
    stage = fresh;
    images = null;
    people = stage.people.map((p) => (p.keypoints ? { start: p.start, xy: moga.array(p.keypoints), confidence: moga.array(p.confidence) } : null)).filter(Boolean);
    if (!people.length || !stage.size) return false;
    frame = stage.video ? [0, 0, ...stage.size] : cropOf(stage.size);
    canvas.width = 720;
    canvas.height = Math.round(720 * frame[3] / frame[2]);
    if (stage.video) {
      const found = await moga.decode(stage.video);
      if (stage === fresh) images = found;
    }
    return true;
  };
  const cropOf = ([width, height]) => { // around all that is surely seen
    let [x0, y0, x1, y1] = [width, height, 0, 0];
    for (const { xy, confidence } of people) confidence.forEach((c, i) => {
      if (c < FAINT) return;
      [x0, x1] = [Math.min(x0, xy[2 * i] / 4), Math.max(x1, xy[2 * i] / 4)];
      [y0, y1] = [Math.min(y0, xy[2 * i + 1] / 4), Math.max(y1, xy[2 * i + 1] / 4)];
    });
    if (x1 <= x0) return [0, 0, width, height];
    const side = Math.max(x1 - x0, y1 - y0) * 1.12;
    return [(x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side, side];
  };
  const sideOf = (j) => (section.left.includes(j) ? "left" : section.right.includes(j) ? "right" : "trunk");
  const show = (i) => {
    if (!stage || !people.length || !frame) return;
    const pen = canvas.getContext("2d"), scale = canvas.width / frame[2];
    pen.fillStyle = moga.colour("stage");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    if (images) pen.drawImage(images[Math.min(i, images.length - 1)], 0, 0, canvas.width, canvas.height);
    for (const { start, xy, confidence } of people) {
      const k = i - start, n = section.joints.length;
      if (k < 0 || (k + 1) * n > confidence.length) continue;
      const at = (j) => [(xy[2 * (k * n + j)] / 4 - frame[0]) * scale, (xy[2 * (k * n + j) + 1] / 4 - frame[1]) * scale];
      const sure = (j) => confidence[k * n + j] >= FAINT;
      pen.lineCap = "round";
      for (const [a, b] of section.bones) for (const halo of [true, false]) {
        pen.beginPath();
        pen.moveTo(...at(a));
        pen.lineTo(...at(b));
        pen.setLineDash(!halo && sideOf(b) === "left" ? [12, 8] : []);
        pen.lineWidth = halo ? 9 : 5;
        pen.globalAlpha = sure(a) && sure(b) ? 1 : 0.35;
        pen.strokeStyle = halo ? moga.colour("card") : moga.colour(sideOf(b));
        pen.stroke();
      }
      pen.globalAlpha = 1;
      pen.setLineDash([]);
      for (let j = 0; j < n; j++) {
        const [x, y] = at(j);
        pen.beginPath();
        if (sideOf(j) === "right") pen.rect(x - 5.5, y - 5.5, 11, 11);
        else pen.arc(x, y, 6, 0, 7);
        pen.fillStyle = sure(j) ? moga.colour(sideOf(j)) : moga.colour("card");
        pen.fill();
        pen.lineWidth = 2;
        pen.strokeStyle = sure(j) ? moga.colour("card") : moga.colour(sideOf(j));
        pen.stroke();
      }
    }
  };
  return { load, show };
};

moga.draws.people = (section, node) => {
  const flat = moga.el("canvas", { class: "flat", role: "img", width: 720, height: 540 });
  const space = moga.el("canvas", { class: "space", role: "img", tabindex: 0, width: 720, height: 540 });
  const box = moga.el("div", { class: "stage" }, flat, space);
  const title = moga.el("h3", {}), about = moga.el("p", { class: "note" });
  const warnings = moga.el("div");
  const toggles = moga.el("div", { class: "controls" });
  let stage = section.stages[0], view = null, hasFlat = false;
  const painter = flatOf(section, flat);
  try {
    view = moga.stageOn(space, section);
  } catch {
    space.replaceWith(moga.el("p", { class: "warning" }, "This browser gives no WebGL, so the 3D view cannot be drawn; the 2D side and the files beside this page have all there is."));
  }
  const seconds = (i) => `${(i / stage.fps).toFixed(2)} s`;
  const describe = (i) => {
    const actors = view?.actors ?? [];
    const lost = actors.filter((a) => i >= a.start && a.isInvented(i - a.start)).length;
    const there = actors.filter((a) => i >= a.start && i < a.start + a.count).length;
    const shown = stage.people.length > 1 ? `, ${there} of ${stage.people.length} people` : "";
    return `${seconds(i)}, frame ${i + 1} of ${stage.frames}${shown}${lost ? " (not seen: invented)" : ""}`;
  };
  const show = (i) => {
    painter.show(i);
    view?.show(i);
    flat.setAttribute("aria-label", `2D input, ${describe(i)}`);
    space.setAttribute("aria-label", `3D view, ${describe(i)}. Shift and arrows turn it, plus and minus zoom.`);
  };
  const save = moga.el("button", { class: "do", type: "button", onclick: () => moga.savePicture(pictureOf(), `${stage.title} frame ${player.at() + 1}`) }, "Save picture");
  const player = moga.player(node, show, describe, [save]);
  const pictureOf = () => {
    view?.paint(); // a canvas of WebGL holds its picture only now
    const parts = [...(hasFlat ? [flat] : []), ...(view ? [space] : [])], tall = 720;
    const wide = parts.map((c) => Math.round(c.width * tall / c.height));
    const out = moga.el("canvas", { width: wide.reduce((a, b) => a + b + 12, -12), height: tall + 34 }), pen = out.getContext("2d");
    pen.fillStyle = moga.colour("card");
    pen.fillRect(0, 0, out.width, out.height);
    pen.fillStyle = moga.colour("ink");
    pen.font = "18px system-ui, sans-serif";
    pen.fillText(`${stage.title}, ${describe(player.at())}`, 8, 22, out.width - 16);
    let x = 0;
    parts.forEach((c, i) => { pen.drawImage(c, x, 34, wide[i], tall); x += wide[i] + 12; });
    return out;
  };

  const resize = () => {
    if (!space.isConnected || !view) return;
    const width = space.clientWidth, height = Math.round(Math.min(width * 0.85, Math.max(300, innerHeight * 0.62)));
    space.style.height = `${height}px`;
    view.size(width, height);
  };
  new ResizeObserver(resize).observe(box);
  space.addEventListener("keydown", (event) => {
    const turn = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, 0.12], ArrowDown: [0, -0.12] }[event.key];
    if (turn && event.shiftKey) view?.turn(...turn);
    else if (event.key === "+" || event.key === "=") view?.zoom(0.87);
    else if (event.key === "-") view?.zoom(1.15);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const pick = async (i) => {
    stage = section.stages[i];
    title.textContent = stage.title;
    title.hidden = stage.title === document.title; // the page's own name is above already
    about.textContent = stage.note ?? "";
    warnings.replaceChildren(...(stage.warnings ?? []).map((w) => moga.el("div", { class: "warning" }, w)));
    view?.load(stage);
    hasFlat = await painter.load(stage);
    flat.hidden = !hasFlat;
    flat.style.display = hasFlat ? "" : "none";
    box.classList.toggle("alone", !hasFlat);
    layToggles();
    const kinds = Array.from({ length: stage.frames }, (_, f) => {
      const there = (view?.actors ?? []).filter((a) => f >= a.start && f < a.start + a.count);
      return there.some((a) => a.isInvented(f - a.start)) ? 2 : there.some((a) => a.stands(f - a.start).length) ? 3 : 0;
    });
    player.reset(stage.frames, stage.fps, kinds);
    resize();
    view?.view("front");
    node.dataset.ready = String(i);
  };
  const layToggles = () => {
    if (!view) return toggles.replaceChildren();
    const seen = (text, key) => moga.toggle(text, (on) => { view.seen[key] = on; view.again(); }, view.seen[key]);
    const has = (key) => stage.people.some((p) => p[key]);
    const button = (text, action, label) => moga.el("button", { class: "do", type: "button", "aria-label": label ?? text, onclick: action }, text);
    toggles.replaceChildren(
      button("Front", () => view.view("front")), button("Side", () => view.view("side")), button("Back", () => view.view("back")), button("Top", () => view.view("top")),
      button("+", () => view.zoom(0.87), "Zoom in"), button("−", () => view.zoom(1.15), "Zoom out"),
      moga.toggle("Follow", (on) => { view.follow = on; view.again(); }, view.follow),
      seen("Letters L and R", "letters"), ...(has("truth") ? [seen("Truth", "truth")] : []), ...(stage.space && stage.space !== "root" ? [seen("Path", "path")] : []));
  };
  const swatch = (colour, text) => moga.el("li", {}, (() => { const i = moga.el("i"); i.style.background = `var(--${colour})`; return i; })(), text);
  if (section.stages.length > 1) node.append(moga.tabs(section.stages.map((s) => s.name), pick, "Example"));
  const some = (key) => section.stages.some((s) => s.people.some((p) => p[key]));
  node.append(title, box, player.node, toggles, moga.el("ul", { class: "key" },
    swatch("right", "right: cubes, R"), swatch("left", "left: balls, L, dashed in 2D"), swatch("trunk", "trunk and head"),
    some("truth") ? swatch("ghost", "truth: thin") : null,
    some("contacts") ? swatch("good", "foot stands: ring on the floor, and under the slider") : null,
    some("invented") ? swatch("warn", "not seen, invented: pale, and broken bar under the slider") : null,
    moga.el("li", { class: "screen" }, "Drag turns the view; click into it, then the wheel zooms.")), warnings, about);
  pick(0);
  moga.recolour(node, () => { view?.load(stage, true); player.go(player.at()); });
  node.addEventListener("gone", () => view?.end());
};
