// Curves and scatters, by uPlot.
"use strict";

const axisOf = (label, log) => ({
  label, labelSize: 22, labelFont: "12px system-ui, sans-serif", font: "12px system-ui, sans-serif", size: label === undefined ? 58 : 42,
  stroke: () => moga.colour("soft"), grid: { stroke: () => moga.colour("line"), width: 1 }, ticks: { stroke: () => moga.colour("line"), width: 1 },
  values: (plot, ticks) => ticks.map((v) => (v === null ? "" : short(v))),
  ...(log ? { space: 40 } : {}),
});
const short = (v) => {
  const size = Math.abs(v);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return v.toExponential(0);
  return size >= 10000 ? `${+(v / 1000).toFixed(1)}k` : String(+v.toPrecision(4));
};
const positive = (values) => Array.from(values, (v) => (v > 0 ? v : null));
const finite = (values) => Array.from(values, (v) => (Number.isFinite(v) ? v : null));

/** An exponential average without the bias of its beginning; gaps stay. */
moga.smooth = (values, weight) => {
  let sum = 0, norm = 0;
  return values.map((v) => {
    if (v === null) return null;
    sum = weight * sum + (1 - weight) * v;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
};

/** A uPlot in a figure; `make()` gives its options and data anew for each change. */
const plotIn = (figure, make) => {
  const holder = figure.querySelector(".plot");
  let plot = null;
  const draw = () => {
    if (!holder.isConnected && plot) return;
    const { options, data } = make();
    plot?.destroy();
    plot = new uplot.Plot({ width: Math.max(240, holder.clientWidth), height: 230, ...options }, data, holder);
    holder.plot = plot; // for whoever tests or extends the page
  };
  new ResizeObserver(() => {
    const width = Math.max(240, holder.clientWidth);
    if (!plot) draw();
    else if (Math.abs(plot.width - width) > 1) plot.setSize({ width, height: 230 });
  }).observe(holder);
  moga.recolour(holder, () => plot && draw());
  return { redraw: draw, zoomOut: () => plot && plot.setData(plot.data, true), plot: () => plot };
};

const figureOf = (title, label) => moga.el("figure", {}, moga.el("figcaption", {}, title), moga.el("div", { class: "plot", role: "img", "aria-label": label }));

/** Curves of one chart as options and data for uPlot. `how`: {time, logX, logY, smooth}. */
const curvesOf = (chart, how) => {
  const tables = chart.series.map((series) => {
    const x = how.time && series.t ? series.t.map((v) => v / 60) : series.x;
    const y = how.logY ? positive(series.y) : series.y;
    const keep = how.logX ? x.map((v) => v > 0) : null;
    return keep ? [x.filter((_, i) => keep[i]), y.filter((_, i) => keep[i])] : [x, y];
  });
  const columns = [], series = [{ label: how.time ? "minutes" : chart.x }];
  const parts = [];
  chart.series.forEach((one, i) => {
    const few = tables[i][0].length < 60;
    const stroke = () => moga.series(one.colour);
    const line = { label: one.name, stroke, width: 2, spanGaps: true, dash: one.dash ? [6, 4] : undefined, points: { show: few, size: 5 }, value: (_, v) => moga.number(v) };
    if (how.smooth > 0 && !few) {
      parts.push(tables[i]);
      series.push({ ...line, label: `${one.name}, raw`, stroke: () => `color-mix(in srgb, ${moga.series(one.colour)} 30%, transparent)`, width: 1 });
      parts.push([tables[i][0], moga.smooth(tables[i][1], how.smooth)]);
    } else parts.push(tables[i]);
    series.push(line);
  });
  columns.push(...(parts.length ? uplot.Plot.join(parts) : [[]]));
  const options = {
    series,
    scales: { x: { time: false, distr: how.logX ? 3 : 1 }, y: { distr: how.logY ? 3 : 1 } },
    axes: [{ ...axisOf(how.time ? "minutes" : chart.x, how.logX), ...(how.whole ? { incrs: [1, 2, 5, 10, 20, 50, 100] } : {}) }, axisOf(undefined, how.logY)],
    legend: { live: true, markers: { fill: (plot, i) => plot.series[i].stroke(plot, i) } },
    cursor: { focus: { prox: 30 }, drag: { x: true, y: false } },
  };
  return { options, data: columns };
};

/** The same numbers as a table: at most 25 points a curve. */
const numbersOf = (chart) => moga.el("details", {}, moga.el("summary", {}, `Numbers of ${chart.title}`),
  moga.el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Numbers of ${chart.title}` }, chart.series.map((series) => {
    const step = Math.max(1, Math.ceil(series.x.length / 25));
    const picked = series.x.map((_, i) => i).filter((i) => i % step === 0 || i === series.x.length - 1);
    return moga.el("table", {}, moga.el("caption", {}, series.name),
      moga.el("thead", {}, moga.el("tr", {}, moga.el("th", { scope: "col" }, chart.x), moga.el("th", { scope: "col" }, chart.title))),
      moga.el("tbody", {}, picked.map((i) => moga.el("tr", {}, moga.el("th", { scope: "row" }, moga.number(series.x[i])), moga.el("td", {}, moga.number(series.y[i]))))));
  })));

const unpack = (chart) => {
  chart.series.forEach((series) => {
    for (const name of ["x", "y", "t"]) if (series[name]?.data !== undefined) series[name] = finite(moga.array(series[name]));
  });
  return chart;
};
const spoken = (chart) => `${chart.title} over ${chart.x}: ` + chart.series.map((series) => {
  const known = series.y.filter((v) => v !== null);
  return `${series.name} from ${moga.number(known[0])} to ${moga.number(known.at(-1))}`;
}).join("; ");

moga.draws.curves = (section, node) => {
  const how = { time: false, logX: false, logY: false, smooth: 0 };
  let charts = [], shown = section.charts.map(unpack);
  const all = (action) => charts.forEach(action);
  const controls = moga.el("div", { class: "controls" });
  if (shown.some((chart) => chart.series.some((s) => s.t))) {
    controls.append(moga.select("Over", [["", shown[0].x + "s"], ["time", "minutes"]], (v) => { how.time = v === "time"; all((c) => c.redraw()); }));
  }
  controls.append(moga.toggle("log x", (on) => { how.logX = on; all((c) => c.redraw()); }), moga.toggle("log y", (on) => { how.logY = on; all((c) => c.redraw()); }));
  if (shown.some((chart) => chart.series.some((s) => s.x.length >= 60))) {
    const slider = moga.el("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0, "aria-label": "Smoothing", oninput: () => { how.smooth = Number(slider.value); all((c) => c.redraw()); } });
    controls.append(moga.el("label", {}, "Smooth", slider));
  }
  controls.append(moga.el("button", { class: "do", type: "button", onclick: () => all((c) => c.zoomOut()) }, "Whole range"),
    moga.el("span", { class: "note" }, "Drag over a chart to zoom, double-click to see it whole."));
  const grid = moga.el("div", { class: shown.length === 1 ? "charts one" : "charts" });
  const build = () => {
    charts = [];
    grid.replaceChildren(...shown.map((chart, i) => {
      const figure = figureOf(chart.title, spoken(chart));
      charts.push(plotIn(figure, () => curvesOf(shown[i], how)));
      figure.append(numbersOf(chart));
      return figure;
    }));
  };
  build();
  node.append(controls, grid);
  return (fresh) => {
    shown = fresh.charts.map(unpack);
    const same = shown.map((c) => c.title).join() === section.charts.map((c) => c.title).join();
    section = fresh;
    if (!same) build();
    else charts.forEach((chart, i) => {
      const plot = chart.plot();
      if (!plot) return;
      const { data, options } = curvesOf(shown[i], how);
      if (options.series.length !== plot.series.length) return chart.redraw();
      const zoomed = plot.scales.x.min > plot.data[0][0] || plot.scales.x.max < plot.data[0].at(-1);
      plot.setData(data, !zoomed);
      if (zoomed) plot.redraw();
    });
    return true;
  };
};

/** One metric of several, model beside baselines: the metric is picked. */
moga.draws.lead = (section, node) => {
  const names = Object.keys(section.metrics);
  let metric = names[0];
  const chartOf = () => ({
    title: metric, x: section.x,
    series: Object.entries(section.metrics[metric]).map(([name, values], i) => ({ name, x: section.at, y: values, colour: section.equal ? i : i === 0 ? 0 : i + 4, dash: !section.equal && i > 0 })),
  });
  const holder = moga.el("div", { class: "charts one" }), note = moga.el("p", { class: "note" });
  const draw = () => {
    const chart = chartOf();
    note.textContent = moga.meaning(section, metric);
    const figure = figureOf(metric, spoken(chart));
    plotIn(figure, () => curvesOf(chart, { whole: true }));
    figure.append(numbersOf(chart));
    holder.replaceChildren(figure);
  };
  if (names.length > 1) node.append(moga.tabs(names, (i) => { metric = names[i]; draw(); }, "Metric"));
  node.append(note, holder);
  draw();
};

/** Points of (x, y): which run is cheap and good. The front is joined by a line. */
moga.draws.scatter = (section, node) => {
  const wide = (points) => Math.max(...points.map((p) => p.x)) > 8 * Math.min(...points.map((p) => p.x));
  let axis = 0, logX = wide(section.axes[0].points);
  const holder = moga.el("div", { class: "charts one" });
  const draw = () => {
    const { name, points, groups } = section.axes[axis];
    const figure = figureOf(`${section.y} against ${name}`, points.map((p) => `${p.name}: ${name} ${moga.number(p.x)}, ${section.y} ${moga.number(p.y)}`).join("; "));
    plotIn(figure, () => scatterOf(section, points, groups, name, logX));
    holder.replaceChildren(figure);
  };
  if (section.axes.length > 1) node.append(moga.tabs(section.axes.map((a) => `against ${a.name}`), (i) => { axis = i; draw(); }, "Axis"));
  node.append(moga.el("div", { class: "controls" }, moga.toggle("log x", (on) => { logX = on; draw(); }, logX)), holder);
  draw();
};

const scatterOf = (section, points, groups, name, logX) => {
  const sorted = [...points].sort((a, b) => a.x - b.x);
  const fronts = groups.map((g, i) => i).filter((i) => points.filter((p) => p.group === groups[i] && p.front).length > 1);
  const data = [sorted.map((p) => p.x), ...groups.map((g) => sorted.map((p) => (p.group === g ? p.y : null))),
    ...fronts.map((i) => sorted.map((p) => (p.group === groups[i] && p.front ? p.y : null)))];
  const point = (i) => ({ label: `protocol ${groups[i]}`, stroke: () => moga.series(i), paths: () => null, points: { show: true, size: 10, fill: () => moga.series(i) }, value: (_, v) => moga.number(v) });
  const front = (i) => ({ label: `front of ${groups[i]}`, stroke: () => moga.series(i), width: 1.5, dash: [5, 4], spanGaps: true, points: { show: false }, value: (_, v) => moga.number(v) });
  const label = (plot) => {
    const pen = plot.ctx;
    pen.save();
    pen.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    pen.fillStyle = moga.colour("ink");
    const { left, width } = plot.bbox;
    let lastY = -1e9, lastX = -1e9;
    sorted.forEach((p) => {
      const x = plot.valToPos(p.x, "x", true), wide = pen.measureText(p.name).width;
      let y = plot.valToPos(p.y, "y", true) - 9 * devicePixelRatio;
      if (Math.abs(y - lastY) < 13 * devicePixelRatio && x - lastX < wide) y = lastY - 13 * devicePixelRatio;
      pen.textAlign = x + wide > left + width ? "right" : "left";
      pen.fillText(p.name, x, y);
      [lastX, lastY] = [x, y];
    });
    pen.restore();
  };
  const xs = sorted.map((p) => p.x), ys = points.map((p) => p.y);
  const pad = (Math.max(...ys) - Math.min(...ys) || 1) * 0.15;
  const range = logX ? [Math.min(...xs) / 1.6, Math.max(...xs) * 1.6] : [0, Math.max(...xs) * 1.15];
  return {
    data,
    options: {
      height: 320,
      series: [{ label: name, value: (_, v) => moga.number(v) }, ...groups.map((_, i) => point(i)), ...fronts.map(front)],
      scales: { x: { time: false, distr: logX ? 3 : 1, range: () => range }, y: { range: () => [Math.min(...ys) - pad, Math.max(...ys) + pad] } },
      axes: [axisOf(name, logX), axisOf(undefined, false)],
      hooks: { draw: [label] },
    },
  };
};
