// 6 REPORT: plots, drawn as SVG from the figures of one model.
//
// In: layers as the report's JSON has them. Out: elements. Every mark that stands for a number has the class `mark`, and a
// title that says the number. Names come out of files: they are set as text, never as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

/** Characters that steer a terminal or turn the direction of writing, made visible. */
const shown = (text) =>
  String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (c) =>
    "\\u{" + c.codePointAt(0).toString(16) + "}");

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  for (const child of children) if (child !== null) node.append(child instanceof Node ? child : shown(child));
  return node;
}

/** Three digits; a number that JSON cannot hold was infinite. */
function number(value) {
  if (value === null || value === undefined) return "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(3)));
  return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
}

/** A mark with its number. */
const mark = (name, attributes, title) =>
  svg(name, { ...attributes, class: "mark " + attributes.class }, svg("title", {}, title));

const largest = (range) => range.channels.max;
const drawable = (spread) => spread.max > 0 && spread.min > 0;

/** How wide a layer's column is: all layers at once if they fit, never too thin to point at. */
const columnWidth = (layers) => Math.max(9, Math.min(34, Math.floor(1000 / layers.length)));

/** Powers of ten around `values`, at least one decade. */
function decades(values) {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const low = logs.length ? Math.floor(Math.min(...logs)) : -1;
  const high = logs.length ? Math.ceil(Math.max(...logs)) : 0;
  return { low, high: Math.max(high, low + 1) };
}

/** A plot over layers: an axis that stays, and columns that scroll under it. */
function overLayers(id, label, layers, { low, high }, height, draw, guides) {
  const top = 8, bottom = height - 22;
  const y = (log) => bottom - (Math.min(Math.max(log, low), high) - low) / (high - low) * (bottom - top);
  const width = columnWidth(layers), all = width * layers.length + 12;
  const axis = svg("svg", { class: "axis", width: 46, height, "aria-hidden": "true" });
  const area = svg("svg", { class: "area", id, width: all, height, role: "img", "aria-label": label });
  for (let log = low; log <= high; log += Math.ceil((high - low) / 8)) {
    axis.append(svg("text", { x: 40, y: y(log) + 4, "text-anchor": "end" }, "10", svg("tspan", { dy: -4, class: "power" }, log)));
    area.append(svg("line", { class: "grid", x1: 0, x2: all, y1: y(log), y2: y(log) }));
  }
  const labels = [];
  for (const [value, name] of guides) {
    const log = Math.log10(value);
    if (log <= low || log >= high) continue;
    area.append(svg("line", { class: "guide", x1: 0, x2: all, y1: y(log), y2: y(log) }));
    labels.push(svg("text", { class: "guide", x: all - 4, y: y(log) - 4, "text-anchor": "end" }, name));
  }
  const step = Math.max(1, Math.ceil(34 / width));
  layers.forEach((layer, index) => {
    const x = 6 + (index + 0.5) * width;
    if (index % step === 0) area.append(svg("text", { class: "tick", x, y: height - 6, "text-anchor": "middle" }, index + 1));
    draw(area, layer, { x, y, width, bottom });
  });
  area.append(...labels);
  return element("div", { class: "plot" }, axis, element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, area));
}

/** Largest weights of the channels of each layer, before and after folding: from the smallest to the largest channel,
    with a dot for the median. */
function rangePlot(layers, constants) {
  const ranges = layers.filter((layer) => layer.weights).flatMap(({ weights }) => [weights.before, weights.after]);
  const ends = ranges.map((range) => range.channels).filter(drawable).flatMap(({ min, max }) => [min, max]);
  const draw = (area, layer, { x, y, width }) => {
    if (!layer.weights) return;
    const shift = Math.min(4, width / 5);
    for (const [when, at] of [["before", x - shift], ["after", x + shift]]) {
      const spread = layer.weights[when].channels;
      if (!drawable(spread)) continue;
      const title = `${layer.norm}, ${when} folding: largest weight of a channel ${number(spread.min)} to ${number(spread.max)}, median ${number(spread.median)}`;
      const [low, high, median] = [spread.min, spread.max, spread.median].map((value) => y(Math.log10(value)));
      area.append(mark("line", { class: "range " + when, x1: at, x2: at, y1: low + 0.5, y2: high - 0.5 }, title));
      area.append(mark("circle", { class: "median " + when, cx: at, cy: median, r: Math.min(3, width / 4.5) }, title));
    }
  };
  const guides = [[constants.f16_max, "largest f16"], [constants.f16_min_normal, "smallest normal f16"]];
  return overLayers("ranges", "Largest weight of every channel, layer by layer, before and after folding", layers,
    decades(ends), 260, draw, guides);
}

/** How the scales of each layer are distributed over its channels: stronger where more of them are. */
function scalePlot(layers, constants) {
  const edge = (bin) => bin / constants.bins_a_decade;
  const ends = layers.map(({ scales }) => scales.histogram).filter(({ counts }) => counts.length > 0)
    .flatMap(({ first, counts }) => [10 ** edge(first), 10 ** edge(first + counts.length)]);
  const draw = (area, layer, { x, y, width, bottom }) => {
    const { first, counts } = layer.scales.histogram;
    const most = Math.max(...counts);
    counts.forEach((count, index) => {
      if (count === 0) return;
      const [low, high] = [edge(first + index), edge(first + index + 1)];
      const title = `${layer.norm}: ${count} of ${layer.channels} channels with a scale from ${number(10 ** low)} to ${number(10 ** high)}`;
      area.append(mark("rect", { class: "bin", x: x - width / 2 + 1, width: width - 2, y: y(high), height: y(low) - y(high),
        "fill-opacity": (0.15 + 0.85 * count / most).toFixed(3) }, title));
    });
    if (layer.dead.count > 0) {
      const title = `${layer.norm}: ${layer.dead.count} of ${layer.channels} channels with a scale of 0`;
      area.append(mark("path", { class: "dead", d: `M${x - 3} ${bottom - 3}l6 6m0 -6l-6 6` }, title));
    }
  };
  return overLayers("scales", "Distribution of the scales over the channels, layer by layer", layers, decades(ends), 220,
    draw, [[constants.large_scale, "large"], [1, ""]]);
}

/** The histogram of one layer's scales over the whole model's span, for a table cell. */
function histogram(layer, from, to) {
  const { first, counts } = layer.scales.histogram;
  const width = 88, height = 18, bar = width / Math.max(1, to - from), most = Math.max(1, ...counts);
  const label = `Scales from ${number(layer.scales.min)} to ${number(layer.scales.max)}, median ${number(layer.scales.median)}`;
  const chart = svg("svg", { class: "histogram", width, height, role: "img", "aria-label": label });
  counts.forEach((count, index) => {
    if (count === 0) return;
    const tall = Math.max(1, count / most * height);
    chart.append(mark("rect", { class: "bar", x: ((first + index - from) * bar).toFixed(2), y: (height - tall).toFixed(2),
      width: Math.max(1, bar - 0.5).toFixed(2), height: tall.toFixed(2) }, `${count} channels`));
  });
  return chart;
}
