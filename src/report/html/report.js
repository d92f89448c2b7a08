// 6 REPORT: the page's behaviour: tables that sort, the model that is opened.
//
// In: the rows that are in the page already, a block of JSON a model, the state of address.js. Out: changes to this page
// alone. A model is read and drawn when its address (#model-N) is visited, so that a page of hundreds of models opens at
// once.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const constants = read("constants");

const natural = new Intl.Collator("en", { numeric: true });
const bytes = (count) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; count >= 1000 && unit < units.length - 1; unit++) count /= 1000;
  return (unit ? count.toFixed(2) : count) + " " + units[unit];
};
const grouped = (count) => count.toLocaleString("en");
const counted = (count, what) => `${grouped(count)} ${what}${count === 1 ? "" : "s"}`;

/** Makes the headings of a table sort its rows; `chosen` is told which and how, or it is done at once. Narrow windows
    show rows as cards, whose cells carry their headings. */
function sortable(sorted, chosen = null) {
  const headings = [...sorted.tHead.rows[0].cells];
  sorted.classList.add("cards");
  // Cards are no table to a browser any more; the roles say that they are one all the same.
  const roles = [[sorted, "table"], [sorted.tHead, "rowgroup"], [sorted.tBodies[0], "rowgroup"]];
  for (const row of sorted.rows) {
    roles.push([row, "row"]);
    for (const cell of row.cells) {
      roles.push([cell, { col: "columnheader", row: "rowheader" }[cell.scope] ?? "cell"]);
      // A status says by itself what it is.
      const isLabelled = cell.cellIndex > 0 && cell.colSpan === 1 && !cell.classList.contains("status");
      if (isLabelled && row.parentNode === sorted.tBodies[0]) cell.dataset.label = headings[cell.cellIndex].textContent;
    }
  }
  for (const [node, role] of roles) node.setAttribute("role", role);
  headings.forEach((heading, column) => {
    const button = element("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      if (chosen) chosen(heading.dataset.key, descending);
      else sortBy(sorted, column, descending);
    });
  });
}

/** Sorts the rows of a table. A row without a cell there comes last. */
function sortBy(sorted, column, descending) {
  const heading = sorted.tHead.rows[0].cells[column], order = descending ? "descending" : "ascending";
  if (heading.getAttribute("aria-sort") === order) return;
  for (const other of sorted.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const keyed = [...sorted.tBodies[0].rows].map((row) => ({ row, key: sortKey(row, column) }));
  keyed.sort((a, b) => compare(a.key, b.key, descending ? -1 : 1));
  sorted.tBodies[0].append(...keyed.map(({ row }) => row));
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

// One model

const heading = (text, ...more) => element("h3", {}, text, ...more);
const note = (text) => element("p", { class: "note" }, text);

/** A table in a box of its own, so that it scrolls and the page does not. `lines` hold nodes, texts or
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
  const headings = ["Norm and weight", "#", "Kind", "Type", "Channels", "Scale min", "Scale median", "Scale max", "Scales",
    "max |w| before", "max |w| after", "Growth", "Spread", "max |b|", "Dead", "Large", ...SCHEMES.map(([, name]) => `dB ${name}`), "eps and source"];
  const lines = layers.map((layer, index) => {
    const { scales, weights } = layer;
    const [before, after] = weights ? [largest(weights.before), largest(weights.after)] : [null, null];
    const spread = weights?.after.channels;
    const known = (value) => (weights ? figure(value) : ["–", -1]);
    return [[pair(layer.norm, layer.weight), layer.norm], index + 1, layer.op.replace("_", " "), layer.dtype, layer.channels,
      figure(scales.min), figure(scales.median), figure(scales.max), [histogram(layer, from, to), scales.max],
      known(before), known(after), known(before ? after / before : 0), known(spread?.median ? spread.max / spread.median : 0),
      figure(layer.largest_shift), layer.dead.count, layer.large.count,
      ...SCHEMES.map(([key]) => (layer.sqnr_db ? beforeAfter(layer.sqnr_db, key) : ["–", -1])),
      [element("span", { class: "pair" }, number(layer.eps), element("small", {}, layer.eps_source)), layer.eps]];
  });
  return [note("Scales by channel; Growth: the largest weight after folding over that before; Spread: the largest weight over that of the median channel, after folding; dB: what rounding would leave, before → after folding; Dead and Large: channels with a scale of 0 and above " + constants.large_scale + "."),
    tableOf("Folded layers", headings, lines, [1, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19])];
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
    ["Original", code(model.input)],
    ["Result", code(model.output)],
    ["Style", model.style],
    ["Computed on", model.adapter ? `${model.adapter}, ${grouped(model.elements_on_gpu)} of ${grouped(model.elements)} values` : "CPU"],
    ["Norms", `${model.layers.folded} folded, ${model.layers.kept} kept`],
    ["Verified", verified ? `${grouped(verified.elements)} values, weights within ${verified.worst_ulp.toFixed(2)} ulp, biases within ${verified.worst_shift_ulp.toFixed(2)} ulp of their largest addend; ${verified.differ} replaced by the CPU's` : "no (--no-verify)"],
    ["Size", `${bytes(model.bytes_in)} → ${bytes(model.bytes_out)}`],
    ["Seconds", stages(model.seconds).map(([stage, seconds]) => `${stage} ${seconds.toFixed(3)}`).join(", ")],
  ];
  return factList(list);
}

/** The differing eps of a model that was folded: value, source and how many norms have it. */
function epsOf(model) {
  if (model.earlier?.figures) return model.earlier.figures.eps;
  const groups = Map.groupBy(model.folded ?? [], ({ eps, eps_code }) => `${eps} ${eps_code}`);
  return [...groups.values()].map((layers) => ({ eps: layers[0].eps, source: layers[0].eps_code, norms: layers.length }));
}

/** Norms that stay, as `plan` shows them: those whose names differ in numbers only and that have the same reason as one
    group, which opens. */
function keptNorms(kept, title) {
  if (kept.length === 0) return [];
  const groups = Map.groupBy(kept, ({ template, code }) => JSON.stringify([template, code]));
  const items = [...groups.values()].map(([first, ...others]) => {
    if (others.length === 0) return element("li", {}, element("b", {}, "1 × "), code(first.norm), element("span", {}, first.reason));
    const summary = element("summary", {}, element("b", {}, `${grouped(others.length + 1)} × `), code(first.template), element("span", {}, `such as ${first.norm}: ${first.reason}`));
    const all = [first, ...others].map(({ norm, reason }) => element("li", {}, code(norm), element("span", {}, reason)));
    return element("li", {}, element("details", {}, summary, element("ul", {}, ...all)));
  });
  return [heading("Norms that stay", csvButton("norms that stay", `${title} kept`, () => csvOf(KEPT_COLUMNS, kept))), element("ul", { class: "groups" }, ...items)];
}

/** What checking says of one model, and how that is to be taken. */
function verdict(model) {
  const assumed = model.folded.filter(({ eps_code }) => eps_code === "assumed").length;
  const say = (state, text) => element("p", { class: `verdict ${state}` }, text);
  if (model.folded.length === 0) return say("attention", "Nothing was folded, so there is nothing to verify.");
  if (!model.verification) return say("attention", "Not verified.");
  return model.warning_codes.includes("assumed-eps") ? say("attention", `Verified; eps assumed for ${counted(assumed, "norm")}.`) : say("good", "Verified.");
}

/** A result that was there: what it says of itself. */
function skipped({ reason, input, output, earlier }) {
  const { figures, bytes_in, bytes_out, finished_unix } = earlier;
  const error = (ulp, of) => (ulp === null ? "not verified" : `${of} within ${ulp} ulp`);
  const known = figures === null ? [] : [
    ["Norms", `${figures.folded} folded, ${figures.kept} kept`],
    ["eps", figures.eps.map(({ eps, source, norms }) => `${number(eps)} ${source} (${counted(norms, "norm")})`).join(", ")],
    ["Verified", figures.worst_ulp === null ? "no (--no-verify)" : `${error(figures.worst_ulp, "weights")}, ${error(figures.worst_shift_ulp, "biases")} of their largest addend`],
  ];
  const list = [["Original", code(input)], ["Result", code(output)], ...known, ["Size", `${bytes(bytes_in)} → ${bytes(bytes_out)}`],
    ...(finished_unix === null ? [] : [["Written", new Date(finished_unix * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC"]])];
  const more = figures === null ? " The result carries no figures." : " The figures are those that the result carries; layers, remarks and times are in the report of the run that folded it.";
  return [note(`Not folded in this run: ${reason}.${more}`), factList(list)];
}

const factList = (list) => element("dl", { class: "facts" }, ...list.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));

function folded(model, title) {
  const by = (key, items) => [...items].sort((a, b) => natural.compare(a[key], b[key]));
  const layers = by("norm", model.folded);
  const list = (name, items) => items.length === 0 ? [] : [heading(name), element("ul", { class: "sentences" }, ...items.map((item) => element("li", {}, item)))];
  return [
    verdict(model),
    facts(model),
    ...list("Warnings", model.warnings),
    ...keptNorms(by("norm", model.kept), title),
    ...(model.lints.length === 0 ? [] : [heading("Numerical remarks", csvButton("numerical remarks", `${title} remarks`, () => csvOf(REMARK_COLUMNS, by("layer", model.lints)))), tableOf("Numerical remarks", ["Layer", "Kind", "Remark", "Channels"],
      by("layer", model.lints).map(({ layer, kind, message, channels }) => [[code(layer), layer], kind.replaceAll("_", " "), message, channelList(channels)]))]),
    ...quantization(model, title),
    ...plots(layers),
    ...oddChannels(layers),
    ...(layers.length === 0 ? [] : [heading("Folded layers", csvButton("folded layers", `${title} layers`, () => csvOf(LAYER_COLUMNS, layers))), ...layerTable(layers)]),
  ];
}

/** The rows before and after `index` that are shown now. */
function neighbours(index) {
  const visible = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => Number(row.dataset.model));
  const at = visible.indexOf(index);
  const link = (target, text) => target === undefined ? null : element("a", { href: address({ ...state, model: target }), "data-model": target }, text);
  const around = at < 0 ? [] : [link(visible[at - 1], "← Previous"), link(visible[at + 1], "Next →")];
  return element("nav", { "aria-label": "Models" }, ...around, element("a", { href: "#models" }, "↑ All models"));
}

const nameOf = (row) => row.cells[0].textContent;

/** Draws the model that the address names, or clears the one that was drawn. */
function open() {
  const index = state.model ?? (rows.length === 1 ? 0 : null);
  const section = document.getElementById("model");
  const row = rows.find(({ dataset }) => Number(dataset.model) === index);
  for (const other of rows) other.classList.toggle("opened", other === row);
  section.hidden = !row;
  if (!row) return section.replaceChildren();
  const model = read(`data-${index}`);
  const name = nameOf(row), title = element("h2", { id: "opened", tabindex: -1 }, name);
  const content = { folded, skipped, failed: ({ error }) => [note(error)], not_reached: () => [note("The run ended before this model was done.")] };
  section.replaceChildren(neighbours(index), title, ...content[model.status](model, name));
  if (state.model !== null) {
    title.focus({ preventScroll: true });
    section.scrollIntoView();
  }
}

/** Follows the address. A model that is open stays as it is while the table is filtered. */
function follow() {
  const before = state.model;
  state = parsed(location.hash, state);
  if (location.hash === "#models") history.replaceState(null, "", address(state));
  showState();
  if (state.model !== before) open();
}

const controls = document.querySelector("form.controls");
controls.hidden = rows.length < 2;
controls.addEventListener("submit", (event) => event.preventDefault());
search.addEventListener("input", () => change({ search: search.value }));
window.addEventListener("hashchange", follow);
document.getElementById("above").append(csvButton("models", "models", () => {
  const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  return csvOf(MODEL_COLUMNS, shown.map((row) => ({ name: nameOf(row), model: read(`data-${row.dataset.model}`) })));
}));
sortable(table, (key, descending) => change({ sort: (descending ? "-" : "") + key }));
follow();
if (state.model === null) open();
