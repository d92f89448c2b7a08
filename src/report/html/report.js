// 6 REPORT: the page's behaviour: search, filter and sort the table; draw a model when it is opened.
//
// In: the rows that are in the page already, a block of JSON a model. Out: changes to this page alone. A model is read
// and drawn when its address (#model-N) is visited, so that a page of hundreds of models opens at once.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const constants = read("constants");
const table = document.getElementById("table");
const rows = [...table.tBodies[0].rows];
const search = document.getElementById("search");
const filter = document.getElementById("filter");

const natural = new Intl.Collator("en", { numeric: true });
const bytes = (count) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; count >= 1000 && unit < units.length - 1; unit++) count /= 1000;
  return (unit ? count.toFixed(2) : count) + " " + units[unit];
};
const grouped = (count) => count.toLocaleString("en");
const counted = (count, what) => `${grouped(count)} ${what}${count === 1 ? "" : "s"}`;

/** Makes the headings of a table sort its rows. A row without a cell there comes last. */
function sortable(sorted) {
  [...sorted.tHead.rows[0].cells].forEach((heading, column) => {
    const button = element("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      for (const other of sorted.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const keyed = [...sorted.tBodies[0].rows].map((row) => ({ row, key: sortKey(row, column) }));
      keyed.sort((a, b) => compare(a.key, b.key, descending ? -1 : 1));
      sorted.tBodies[0].append(...keyed.map(({ row }) => row));
    });
  });
}

function sortKey(row, column) {
  const cell = row.cells[column];
  if (!cell || cell.colSpan > 1) return null;
  const text = cell.dataset.sort ?? cell.textContent;
  return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
}

function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : natural.compare(a, b));
}

/** Shows the rows that hold all words of the search and carry the chosen tag. */
function applyFilter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const row of rows) {
    const text = (row.searchText ??= row.textContent.toLowerCase());
    const tagged = filter.value === "" || row.dataset.tags.split(" ").includes(filter.value);
    row.hidden = !(tagged && words.every((word) => text.includes(word)));
    left += row.hidden ? 0 : 1;
  }
  document.getElementById("matches").textContent = `${grouped(left)} of ${counted(rows.length, "model")}`;
}

// One model

const heading = (text, ...more) => element("h3", {}, text, ...more);
const note = (text) => element("p", { class: "note" }, text);

/** A table in a box of its own, so that it scrolls and the page does not. `cells` holds nodes, texts or
    [node or text, what to sort by]; `numbers` the columns of numbers. */
function tableOf(label, headings, lines, numbers = []) {
  const kind = (column) => (numbers.includes(column) ? { class: "number" } : {});
  const cell = (content, column) => {
    const [shownAs, key] = Array.isArray(content) ? content : [content, null];
    const sentence = typeof shownAs === "string" && shownAs.length > 30 ? { class: "sentence" } : {};
    const attributes = { ...kind(column), ...sentence, ...(key === null ? {} : { "data-sort": key }) };
    return column === 0 ? element("th", { scope: "row", ...attributes }, shownAs) : element("td", attributes, shownAs);
  };
  const head = element("tr", {}, ...headings.map((text, column) => element("th", { scope: "col", ...kind(column) }, text)));
  const made = element("table", { class: "sortable" }, element("thead", {}, head),
    element("tbody", {}, ...lines.map((line) => element("tr", {}, ...line.map(cell)))));
  sortable(made);
  return element("div", { class: "box", tabindex: 0, role: "region", "aria-label": label }, made);
}

const code = (text) => element("code", {}, text);
const pair = (above, below) => element("span", { class: "pair" }, code(above), element("small", {}, below));
const figure = (value) => [number(value), value ?? 1e308];

function layerTable(layers) {
  const bins = layers.flatMap(({ scales: { histogram: { first, counts } } }) => counts.length ? [first, first + counts.length] : []);
  const [from, to] = [Math.min(...bins), Math.max(...bins)];
  const headings = ["Norm and weight", "#", "Kind", "Type", "Channels", "Scale min", "median", "max", "Scales",
    "max |w| before", "after", "Growth", "Spread", "max |b|", "Dead", "Large", "eps and source"];
  const lines = layers.map((layer, index) => {
    const { scales, weights } = layer;
    const [before, after] = weights ? [largest(weights.before), largest(weights.after)] : [null, null];
    const spread = weights?.after.channels;
    const known = (value) => (weights ? figure(value) : ["–", -1]);
    return [[pair(layer.norm, layer.weight), layer.norm], index + 1, layer.op.replace("_", " "), layer.dtype, layer.channels,
      figure(scales.min), figure(scales.median), figure(scales.max), [histogram(layer, from, to), scales.max],
      known(before), known(after), known(before ? after / before : 0), known(spread?.median ? spread.max / spread.median : 0),
      figure(layer.largest_shift), layer.dead.count, layer.large.count,
      [element("span", { class: "pair" }, number(layer.eps), element("small", {}, layer.eps_source)), layer.eps]];
  });
  return [note("Scales by channel; Growth: the largest weight after folding over that before; Spread: the largest weight over that of the median channel, after folding; Dead and Large: channels with a scale of 0 and above " + constants.large_scale + "."),
    tableOf("Folded layers", headings, lines, [1, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15])];
}

const channelList = ({ count, first }) => first.join(", ") + (count > first.length ? ", …" : "");

/** Channels that folding multiplies by nothing, or by very much. */
function oddChannels(layers) {
  const odd = layers.filter(({ dead, large }) => dead.count + large.count > 0);
  if (odd.length === 0) return [];
  const lines = odd.map(({ norm, channels, dead, large, scales }) => [[code(norm), norm], channels, dead.count, channelList(dead), large.count,
    channelList(large), figure(scales.max)]);
  return [heading("Channels that die or blow up"), tableOf("Channels that die or blow up",
    ["Norm", "Channels", "Scale 0", "which", `Scale over ${constants.large_scale}`, "which", "Largest scale"], lines, [1, 2, 4, 6])];
}

const legend = (...items) => element("ul", { class: "legend" },
  ...items.map(([name, text]) => element("li", {}, element("i", { class: name }), text)));

function plots(layers) {
  if (layers.length === 0) return [];
  const measured = layers.some((layer) => layer.weights);
  return [
    heading("Range of weights before and after folding"),
    ...(measured ? [
      note("Each line spans the largest magnitudes of a layer's channels, from the smallest channel to the largest; the dot is the median channel. Channels of zeros are left out. A long line is a layer that one quantization step for the whole tensor serves badly."),
      legend(["before", "before"], ["after", "after"]), rangePlot(layers, constants),
    ] : [note("Ranges were not gathered in this run.")]),
    heading("Scales by channel"),
    note("Each column is a layer, stronger where more of its channels have that scale; its number is that of the table of layers below. A cross at the bottom marks channels of scale 0."),
    scalePlot(layers, constants),
  ];
}

// A stage that was not measured, as the kernels of a run on the CPU, is null.
const stages = (seconds) => Object.entries(seconds).filter(([, time]) => time !== null);

function facts(model) {
  const verified = model.verification;
  const list = [
    ["Result", code(model.output)],
    ["Style", model.style],
    ["Computed on", model.adapter ? `${model.adapter}, ${grouped(model.elements_on_gpu)} of ${grouped(model.elements)} values` : "CPU"],
    ["Norms", `${model.layers.folded} folded, ${model.layers.kept} kept`],
    ["Verified", verified ? `${grouped(verified.elements)} values, weights within ${verified.worst_ulp.toFixed(2)} ulp, biases within ${verified.worst_shift_ulp.toFixed(2)} ulp of their largest addend; ${verified.differ} replaced by the CPU's` : "no (--no-verify)"],
    ["Size", `${bytes(model.bytes_in)} → ${bytes(model.bytes_out)}`],
    ["Seconds", stages(model.seconds).map(([stage, seconds]) => `${stage} ${seconds.toFixed(3)}`).join(", ")],
  ];
  return element("dl", { class: "facts" }, ...list.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function folded(model) {
  const by = (key, items) => [...items].sort((a, b) => natural.compare(a[key], b[key]));
  const layers = by("norm", model.folded);
  const list = (name, items) => items.length === 0 ? [] : [heading(name), element("ul", { class: "sentences" }, ...items.map((item) => element("li", {}, item)))];
  return [
    facts(model),
    ...list("Warnings", model.warnings),
    ...(model.kept.length === 0 ? [] : [heading("Norms that stay"),
      tableOf("Norms that stay", ["Norm", "Why"], by("norm", model.kept).map(({ norm, reason }) => [[code(norm), norm], reason]))]),
    ...(model.lints.length === 0 ? [] : [heading("Numerical remarks"), tableOf("Numerical remarks", ["Layer", "Kind", "Remark", "Channels"],
      by("layer", model.lints).map(({ layer, kind, message, channels }) => [[code(layer), layer], kind.replaceAll("_", " "), message, channelList(channels)]))]),
    ...plots(layers),
    ...oddChannels(layers),
    ...(layers.length === 0 ? [] : [heading("Folded layers"), ...layerTable(layers)]),
  ];
}

/** The rows before and after `index` that are shown now. */
function neighbours(index) {
  const visible = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => Number(row.dataset.model));
  const at = visible.indexOf(index);
  const link = (target, text) => target === undefined ? null : element("a", { href: `#model-${target}` }, text);
  const around = at < 0 ? [] : [link(visible[at - 1], "← Previous"), link(visible[at + 1], "Next →")];
  return element("nav", { "aria-label": "Models" }, ...around, element("a", { href: "#models" }, "↑ All models"));
}

/** Draws the model that the address names, or clears the one that was drawn. */
function open() {
  const found = /^#model-(\d+)$/.exec(location.hash);
  const index = found ? Number(found[1]) : rows.length === 1 ? 0 : null;
  const section = document.getElementById("model");
  const row = rows.find(({ dataset }) => Number(dataset.model) === index);
  for (const other of rows) other.classList.toggle("opened", other === row);
  if (!row) return section.replaceChildren();
  const model = read(`data-${index}`);
  const title = element("h2", { id: "opened", tabindex: -1 }, model.input);
  const content = { folded, skipped: ({ reason, output }) => [note(`Skipped: ${reason}`), code(output)], failed: ({ error }) => [note(error)], not_reached: () => [note("The run ended before this model was done.")] };
  section.replaceChildren(neighbours(index), title, ...content[model.status](model));
  section.hidden = false;
  if (found) {
    title.focus({ preventScroll: true });
    section.scrollIntoView();
  }
}

document.querySelector("form.controls").hidden = rows.length < 2;
document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
search.addEventListener("input", applyFilter);
filter.addEventListener("change", applyFilter);
window.addEventListener("hashchange", open);
sortable(table);
applyFilter();
open();
