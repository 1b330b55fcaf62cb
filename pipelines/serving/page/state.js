// What is asked stands in the address, behind the #: it can be shared, and no server's log sees it.

const form = byId("form");
const FIELDS = [
  "pipeline", "other", "space", "against", "query", "mode", "compare", "limit", "filter", "num_candidates", "min_score",
  "diversity", "expand", "vector_weight", "text_weight",
];
const CHOICES = ["pipeline", "other", "space", "against"];
const TICKS = { exact: false, group_by_source: false, rerank: true };
const DEFAULTS = { mode: "vector", compare: "", limit: "10" };
const BEHIND = [
  "filter", "num_candidates", "min_score", "diversity", "expand", "vector_weight", "text_weight",
];

function readForm() {
  const state = {};
  for (const name of FIELDS) state[name] = String(form.elements[name].value ?? "");
  for (const name of Object.keys(TICKS)) state[name] = form.elements[name].checked;
  return state;
}

function fillForm(state) {
  for (const name of FIELDS) {
    const value = state[name] ?? DEFAULTS[name] ?? "";
    if (!CHOICES.includes(name)) form.elements[name].value = value;
    else if (value || name === "space" || name === "against") choose(form.elements[name], value);
  }
  for (const [name, usual] of Object.entries(TICKS)) {
    form.elements[name].checked = name in state ? state[name] : usual;
  }
}

/** What is not there any more is shown all the same: asking it says so. */
function choose(select, value) {
  if (![...select.options].some((option) => option.value === value)) {
    select.append(new Option(value, value));
  }
  select.value = value;
}

function toAddress(state) {
  const found = new URLSearchParams();
  for (const name of FIELDS) {
    if (name === "other" && state.compare !== "pipeline") continue;
    if (name === "against" && state.compare !== "space") continue;
    if (name === "space" && state.compare === "pipeline") continue;
    if (state[name] && state[name] !== DEFAULTS[name]) found.set(name, state[name]);
  }
  for (const [name, usual] of Object.entries(TICKS)) {
    if (state[name] !== usual) found.set(name, state[name] ? "1" : "0");
  }
  return `#${found}`;
}

function fromAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  const state = {};
  for (const name of FIELDS) if (found.has(name)) state[name] = found.get(name);
  for (const name of Object.keys(TICKS)) if (found.has(name)) state[name] = found.get(name) === "1";
  return state;
}

/** How many options behind the button are not as usual. */
function optionsSet(state) {
  const ticks = Object.entries(TICKS).filter(([name, usual]) => state[name] !== usual);
  return BEHIND.filter((name) => state[name].trim()).length + ticks.length;
}

/** The body of a request; throws a sentence about what is no JSON or no number. */
function bodyOf(state, pipeline, changes = {}) {
  const body = { pipeline, query: state.query, max_text: 5000 };
  body.limit = Number(state.limit || DEFAULTS.limit);
  if (state.mode !== "vector") body.mode = state.mode;
  for (const name of ["num_candidates", "min_score", "diversity", "expand"]) {
    if (state[name].trim()) body[name] = Number(state[name]);
  }
  if (state.mode === "hybrid" && (state.vector_weight.trim() || state.text_weight.trim())) {
    body.weights = [Number(state.vector_weight || 1), Number(state.text_weight || 1)];
  }
  for (const [name, usual] of Object.entries(TICKS)) {
    if (state[name] !== usual) body[name] = state[name];
  }
  if (state.filter.trim()) body.filter = parsedFilter(state.filter);
  if (state.space && state.compare !== "pipeline") body.space = state.space;
  Object.assign(body, changes);
  if (!body.space) delete body.space;
  if (body.exact) delete body.num_candidates;
  return body;
}

function parsedFilter(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error('The filter is not JSON yet: write it as {"kind": "film"}.');
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) {
    throw new Error('The filter is one JSON object: {"kind": "film"}.');
  }
  return found;
}
