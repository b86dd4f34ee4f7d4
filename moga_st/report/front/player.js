// Time: play, slider, speed, keys. One player at a time hears the keyboard: the one last used, else the first on screen.
"use strict";
moga.players = [];

/**
 * Controls over `frames` frames at `fps`; `show(i)` draws frame i, `describe(i)` says where it is.
 * Returns the element, `at()`, `go(i)` and `rest(frames, fps)`, which begins anew with other numbers.
 */
moga.player = (section, show, describe, extra = []) => {
  let frames = 1, fps = 10, now = 0, speed = 1, timer = 0, last = 0, lag = 0;
  const button = moga.el("button", { class: "do play", type: "button", onclick: () => toggle() }, "▶ Play");
  const slider = moga.el("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Frame", oninput: () => { stop(); go(Number(slider.value)); } });
  const marks = moga.el("canvas", { class: "marks", width: 600, height: 9, "aria-hidden": "true" });
  const where = moga.el("span", { class: "where" });
  const rate = moga.select("Speed", [["0.25", "¼ ×"], ["0.5", "½ ×"], ["1", "1 ×"], ["2", "2 ×"]], (v) => { speed = Number(v); });
  rate.querySelector("select").value = "1";
  const node = moga.el("div", {},
    moga.el("div", { class: "controls" }, button, moga.el("div", { class: "grow" }, slider, marks), where),
    moga.el("div", { class: "controls" }, rate, extra, moga.el("span", { class: "note" }, "Space plays, arrows step.")));

  const go = (i) => {
    now = Math.max(0, Math.min(frames - 1, i));
    slider.value = now;
    const text = describe(now);
    slider.setAttribute("aria-valuetext", text);
    where.textContent = text;
    show(now);
  };
  const tick = (time) => {
    if (!node.isConnected) return stop();
    lag += Math.min(200, time - last) * fps * speed / 1000;
    last = time;
    if (lag >= 1) {
      go((now + Math.floor(lag)) % frames);
      lag %= 1;
    }
    timer = requestAnimationFrame(tick);
  };
  const stop = () => {
    cancelAnimationFrame(timer);
    timer = 0;
    button.textContent = "▶ Play";
    button.setAttribute("aria-label", "Play");
  };
  const toggle = () => {
    moga.players.forEach((p) => p !== self && p.stop());
    moga.playing = self;
    if (timer) return stop();
    last = performance.now();
    lag = 0;
    timer = requestAnimationFrame(tick);
    button.textContent = "❚❚ Pause";
    button.setAttribute("aria-label", "Pause");
  };
  /** Other numbers; `kinds` (one a frame, 0 to 3) colours the bar under the slider. */
  const reset = (count, rateOf, kinds) => {
    stop();
    frames = count;
    fps = rateOf;
    slider.max = frames - 1;
    paintMarks(marks, kinds ?? []);
    go(Math.min(now, frames - 1));
  };
  /** Where to be when `reset` comes. */
  const start = (i) => { now = i; };
  const self = { node, section, start, stop, toggle, at: () => now, go, reset, step: (by) => { stop(); go((now + by + frames) % frames); } };
  section.addEventListener("pointerdown", () => { moga.playing = self; });
  section.addEventListener("focusin", () => { moga.playing = self; });
  moga.players.push(self);
  return self;
};

const paintMarks = (canvas, kinds) => {
  canvas.hidden = !kinds.some((kind) => kind > 0);
  const pen = canvas.getContext("2d");
  const draw = () => {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const step = canvas.width / Math.max(1, kinds.length);
    kinds.forEach((kind, i) => {
      if (!kind) return;
      pen.fillStyle = moga.colour(["fill", "accent", "warn", "good"][kind]);
      if (kind === 2) pen.fillRect(i * step, i % 2 ? 0 : 3, step + 0.5, canvas.height - (i % 2 ? 3 : 3)); // broken: told by more than colour
      else pen.fillRect(i * step, 2, step + 0.5, canvas.height - 4);
    });
  };
  draw();
  moga.recolour(canvas, draw);
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const on = event.target;
  if (on.matches?.("select, textarea, input:not([type=range]), [role=tab], summary, a, th button")) return;
  if (event.key === " " && on.matches?.("button")) return; // it presses the button
  const live = moga.players.filter((p) => p.node.isConnected);
  const visible = (p) => { const box = p.section.getBoundingClientRect(); return box.bottom > 80 && box.top < innerHeight - 80; };
  const player = live.find((p) => p === moga.playing && visible(p)) ?? live.find(visible);
  if (!player) return;
  if (event.key === " ") player.toggle();
  else if (event.key === "ArrowRight" && !event.shiftKey && !on.matches?.("input")) player.step(1);
  else if (event.key === "ArrowLeft" && !event.shiftKey && !on.matches?.("input")) player.step(-1);
  else return;
  event.preventDefault();
});
