// 6 REPORT: what quantization would cost: signal-to-quantization-noise ratios of a model and of the layers that lose most.
//
// In: the `sqnr_db` of a model and of its layers. Out: elements.

/** Ways to round weights: the key in the data, and words. */
const SCHEMES = [["int8_tensor", "int8, per tensor"], ["int8_channel", "int8, per channel"], ["e4m3_tensor", "fp8 e4m3, per tensor"], ["e4m3_channel", "fp8 e4m3, per channel"]];

/** Layers that are listed. */
const SHOWN = 5;

/** A ratio that is not finite is of a weight that loses nothing, or is nothing. */
const decibels = (value) => (value === null ? "–" : value.toFixed(1));

/** What folding takes from a ratio; a ratio that there is not loses nothing. */
const lost = ({ before, after }, key) => (before[key] === null || after[key] === null ? 0 : before[key] - after[key]);

/** Before and after, in one cell that sorts by the latter. */
const beforeAfter = ({ before, after }, key) => [`${decibels(before[key])} → ${decibels(after[key])}`, after[key] ?? 1e308];

function quantization(model, title) {
  const layers = model.folded.filter(({ sqnr_db }) => sqnr_db);
  if (!model.sqnr_db || layers.length === 0) return [];
  const headings = ["Weights", ...SCHEMES.map(([, name]) => name)];
  const cells = (sqnr) => SCHEMES.map(([key]) => beforeAfter(sqnr, key));
  const worst = [...layers].sort((a, b) => lost(b.sqnr_db, "int8_tensor") - lost(a.sqnr_db, "int8_tensor")).slice(0, SHOWN);
  const lines = [["All folded layers together", ...cells(model.sqnr_db)],
    ...worst.map((layer) => [[pair(layer.norm, layer.weight), layer.norm], ...cells(layer.sqnr_db)])];
  const columns = [["norm", ({ norm }) => norm], ["weight", ({ weight }) => weight], ...SQNR_COLUMNS];
  const button = csvButton("what quantization would cost", `${title} quantization`, () => csvOf(columns, layers));
  return [heading("What quantization would cost", button),
    note("Signal-to-quantization-noise ratio of the weights in dB before → after folding, every weight rounded: symmetric, the largest magnitude becomes 127 or 448. 6 dB are one bit. First all folded layers together, then those that lose most with one step for the tensor; the others are in the table of layers."),
    tableOf("What quantization would cost", headings, lines, [1, 2, 3, 4])];
}

const SQNR_COLUMNS = SCHEMES.flatMap(([key]) => ["before", "after"].map((when) => [`sqnr_db_${key}_${when}`, ({ sqnr_db }) => sqnr_db?.[when][key]]));
