// 6 REPORT: tables as CSV (RFC 4180), for spreadsheets and programs.
//
// In: figures that the page holds. Out: a file that the browser saves. Names come out of files, so no cell may be taken
// for a formula: what begins like one gets an apostrophe, unless it is a number.

function csvCell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  const isNumber = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text);
  if (/^[=+\-@\t\r\n]/.test(text) && !isNumber) text = "'" + text;
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const csvText = (lines) => lines.map((line) => line.map(csvCell).join(",") + "\r\n").join("");

function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A button that saves the lines that `make` returns at that moment, headings first. */
function csvButton(label, name, make) {
  const button = element("button", { type: "button", class: "csv", "aria-label": `Save as CSV: ${label}` }, "Save as CSV");
  button.addEventListener("click", () => save(`${name}.csv`, csvText(make())));
  return button;
}

/** A line for an object: `columns` are pairs of a heading and how its value is found. */
const csvOf = (columns, items) => [columns.map(([heading]) => heading), ...items.map((item) => columns.map(([, value]) => value(item)))];

const sum = (counts) => counts.reduce((sum, count) => sum + count, 0);

/** Columns of the table of models; `item` is a model's name and its data. */
const MODEL_COLUMNS = [
  ["model", ({ name }) => name],
  ["status", ({ model }) => model.status],
  ["done_before", ({ model }) => model.earlier?.done_before],
  ["norms_folded", ({ model }) => (model.layers ?? model.earlier?.figures)?.folded],
  ["norms_kept", ({ model }) => (model.layers ?? model.earlier?.figures)?.kept],
  ["remarks", ({ model }) => model.lints?.length],
  ["eps", ({ model }) => epsOf(model).map(({ eps, source }) => `${eps} ${source}`).join("; ")],
  ["norms_with_assumed_eps", ({ model }) => (model.layers ?? model.earlier?.figures ? sum(epsOf(model).filter(({ source }) => source === "assumed").map(({ norms }) => norms)) : "")],
  ["worst_ulp", ({ model }) => (model.verification ?? model.earlier?.figures)?.worst_ulp],
  ["worst_shift_ulp", ({ model }) => (model.verification ?? model.earlier?.figures)?.worst_shift_ulp],
  ["bytes_in", ({ model }) => model.bytes_in ?? model.earlier?.bytes_in],
  ["bytes_out", ({ model }) => model.bytes_out ?? model.earlier?.bytes_out],
  ["seconds", ({ model }) => model.seconds?.total],
  ["input", ({ model }) => model.input],
  ["output", ({ model }) => model.output],
  ["reason", ({ model }) => model.reason ?? model.error],
];

const LAYER_COLUMNS = [
  ...["norm", "weight", "op", "dtype", "channels", "eps", "eps_source", "eps_code"].map((key) => [key, (layer) => layer[key]]),
  ...["min", "median", "max"].map((key) => [`scale_${key}`, ({ scales }) => scales[key]]),
  ["largest_weight_before", ({ weights }) => weights && largest(weights.before)],
  ["largest_weight_after", ({ weights }) => weights && largest(weights.after)],
  ["largest_shift", (layer) => layer.largest_shift],
  ["channels_of_scale_0", ({ dead }) => dead.count],
  ["channels_of_large_scale", ({ large }) => large.count],
  ...SQNR_COLUMNS,
];

const KEPT_COLUMNS = ["norm", "code", "reason"].map((key) => [key, (kept) => kept[key]]);

const REMARK_COLUMNS = [
  ...["layer", "kind", "value", "message"].map((key) => [key, (lint) => lint[key]]),
  ["channels", ({ channels }) => channels.count],
  ["first_channels", ({ channels }) => channels.first.join(" ")],
];
