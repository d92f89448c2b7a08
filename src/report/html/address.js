// 6 REPORT: what the reader sees is what the address says, so that a view can be shared and bookmarked:
// #model-3&show=kept,assumed&search=resnet&sort=-size
//
// In: the address, the page's rows and links. Out: the state in words, links that keep it. The state is in the fragment,
// because a browser lets a page that is a file change nothing else of its address.

const table = document.getElementById("table");
const rows = [...table.tBodies[0].rows];
const search = document.getElementById("search");

const nothing = { model: null, show: [], search: "", sort: "" };
let state = nothing;

const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** The state that a fragment names. A plain anchor (#models) names a place on the page and leaves the rest as it is. */
function parsed(fragment, before) {
  const words = fragment.replace(/^#/, "").split("&").filter(Boolean);
  const opened = words.map((word) => /^model-(\d+)$/.exec(word)).find(Boolean);
  const model = opened ? Number(opened[1]) : null;
  const pairs = words.filter((word) => word.includes("="));
  if (words.length > 0 && !opened && pairs.length === 0) return { ...before, model };
  const { show = "", search = "", sort = "" } = Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    return [pair.slice(0, at), decoded(pair.slice(at + 1))];
  }));
  return { model, show: show.split(",").filter(Boolean), search, sort };
}

function address({ model, show, search, sort }) {
  const pairs = [["show", show.join(",")], ["search", search], ["sort", sort]].filter(([, value]) => value !== "");
  const words = pairs.map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll("%2C", ",")}`);
  return "#" + [...(model === null ? [] : [`model-${model}`]), ...words].join("&");
}

/** Changes the state without a new entry in the browser's history: one a keystroke would make its back button useless. */
function change(changes) {
  state = { ...state, ...changes };
  history.replaceState(null, "", address(state));
  showState();
}

/** Shows the rows that hold all words of the search and carry all chosen tags, in the chosen order. */
function showState() {
  if (search.value !== state.search) search.value = state.search;
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const row of rows) {
    const text = (row.searchText ??= row.textContent.toLowerCase());
    const tags = row.dataset.tags.split(" ");
    row.hidden = !(state.show.every((tag) => tags.includes(tag)) && words.every((word) => text.includes(word)));
    left += row.hidden ? 0 : 1;
  }
  document.getElementById("matches").textContent = `${grouped(left)} of ${counted(rows.length, "model")}`;
  const key = state.sort.replace(/^-/, "");
  const column = [...table.tHead.rows[0].cells].findIndex((heading) => heading.dataset.key === key);
  sortBy(table, Math.max(column, 0), column >= 0 && state.sort.startsWith("-"));
  keepInLinks();
}

/** A filter's link adds its tag, or takes it back; a model's link keeps the view that it was opened from. */
function keepInLinks() {
  for (const link of document.querySelectorAll(".filters a")) {
    const tag = link.dataset.show, { show } = state;
    const chosen = tag === "" ? show.length === 0 : show.includes(tag);
    const next = tag === "" ? [] : chosen ? show.filter((other) => other !== tag) : [...show, tag];
    link.href = address({ ...state, show: next }).replace(/^#$/, "#show=");
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  for (const link of document.querySelectorAll("a[data-model]")) {
    link.href = address({ ...state, model: Number(link.dataset.model) });
  }
}
