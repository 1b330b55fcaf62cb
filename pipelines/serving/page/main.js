// The page: what is asked, and where the answers go.

const results = byId("results");
const details = new Map(); // by pipeline: what it can be asked for, or why it cannot
let listing = [];
let asking = null;

async function ask(path, body, signal) {
  const options = body
    ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal }
    : { signal };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is `embeddings serve` still running?");
  }
  if (answer.status === 401) throw new Error("Your session has ended: reload the page and give the token again.");
  let content;
  try {
    content = await answer.json();
  } catch {
    throw new Error(`The server answered ${answer.status} and nothing that can be read: ask again in a moment.`);
  }
  if (!answer.ok) throw new Error(sentence(content.error ?? `The server answered ${answer.status}.`));
  return content;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

// --- what there is to ask

async function loadPipelines() {
  listing = (await ask("/pipelines")).pipelines;
  for (const name of ["pipeline", "other"]) {
    const select = form.elements[name];
    select.replaceChildren(...listing.map((each) => {
      const option = new Option(each.fault ? `${each.name} (broken)` : each.name, each.name);
      option.disabled = Boolean(each.fault);
      return option;
    }));
    select.disabled = !listing.length;
    const sound = [false, true].flatMap((lacks) =>
      listing.filter((each) => !each.fault && Boolean(each.missing.length) === lacks));
    const usual = sound[name === "other" && sound.length > 1 ? 1 : 0];
    if (usual) select.value = usual.name;
  }
}

async function describe() {
  const name = form.elements.pipeline.value;
  const about = byId("about");
  byId("fields").replaceChildren();
  modes({});
  reranker(null);
  about.className = "about";
  about.replaceChildren();
  if (!name) return;
  const space = form.elements.space.value;
  const key = JSON.stringify([name, space]);
  const current = () => form.elements.pipeline.value === name && form.elements.space.value === space;
  if (!details.has(key)) {
    about.textContent = `Opening ${space || name}: its model and its index are loaded once …`;
    try {
      const of = space ? `?space=${encodeURIComponent(space)}` : "";
      details.set(key, await ask(`/pipelines/${encodeURIComponent(name)}${of}`));
    } catch (error) {
      if (current()) {
        about.className = "about bad";
        about.textContent = error.message;
      }
      return;
    }
  }
  if (!current()) return;
  const found = details.get(key);
  offerSpaces(found.spaces);
  const why = Object.entries(found.modes).filter(([, reason]) => reason);
  const line = `${plural(found.vectors, "vector")} of ${found.dimensions} dimensions by ${found.model} · engine ${found.engine} · ${found.index}`;
  about.replaceChildren(line);
  if (why.length) {
    about.append(make("span", "", sentence(`${why.map(([mode]) => mode).join(" and ")} cannot be had: ${why[0][1]}`)));
  }
  byId("fields").replaceChildren(...found.filter_fields.map(fieldChip));
  if (!found.filter_fields.length) byId("fields").append("this index has no filter fields");
  modes(found.modes);
  reranker(found.reranker);
  if (found.reranker.fault) about.append(make("span", "bad", sentence(found.reranker.fault)));
}

function reranker(found) {
  const tick = form.elements.rerank;
  const none = found !== null && !found.name && !found.fault;
  tick.disabled = none;
  tick.nextElementSibling.textContent =
    none ? "Rerank: this pipeline has no reranker" : found?.name ? `Rerank: ${found.name}` : "Rerank";
}

function fieldChip(name) {
  const chip = make("button", "", name);
  chip.type = "button";
  chip.title = `Add ${name} to the filter`;
  chip.addEventListener("click", () => {
    const area = form.elements.filter;
    let clause = {};
    try {
      clause = area.value.trim() ? parsedFilter(area.value) : {};
    } catch {
      return area.focus();
    }
    if (!(name in clause)) clause[name] = "";
    area.value = JSON.stringify(clause);
    area.focus();
    const at = area.value.indexOf(`${JSON.stringify(name)}:""`) + JSON.stringify(name).length + 2;
    if (clause[name] === "") area.setSelectionRange(at, at);
    refresh();
  });
  return chip;
}

/** A mode that cannot be had stays visible, and says why. */
function modes(found) {
  for (const input of form.querySelectorAll("input[name=mode]")) {
    const why = found[input.value] ?? "";
    input.disabled = Boolean(why);
    input.parentElement.title = why && sentence(why);
    input.setAttribute("aria-description", why);
  }
}

// --- asking

async function search() {
  if (form.elements.compare.value === "space" && !spaces.length) await describe();
  const state = readForm();
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  if (!state.query.trim()) return welcome();
  document.title = `${state.query.slice(0, 60)} – Search`;
  let sides;
  try {
    sides = sidesOf(state);
  } catch (error) {
    return results.replaceChildren(make("p", "failed", error.message));
  }
  waiting(sides);
  const replies = await Promise.all(sides.map(({ body }) => ask("/search", body, signal).catch((error) => error)));
  if (!signal.aborted) show(sides, replies, state);
}

/** Which searches stand beside one another: a title and the request of each. */
function sidesOf(state) {
  const own = state.pipeline;
  if (state.compare === "exact") {
    return [
      { title: "Exact", name: "exact", body: bodyOf(state, own, { exact: true }) },
      { title: "Approximate", name: "approximate", body: bodyOf(state, own, { exact: false }) },
    ];
  }
  if (state.compare === "space") {
    return [state.space, state.against].map((space) => {
      const name = spaceName(space);
      return { title: name, name, body: bodyOf(state, own, { space }) };
    });
  }
  if (state.compare === "pipeline") {
    return [own, state.other].map((name) => ({ title: name, name, body: bodyOf(state, name) }));
  }
  return [{ title: "", name: own, body: bodyOf(state, own) }];
}

function waiting(sides) {
  const bones = sides.map(({ title }) =>
    make("section", "column", title ? make("h2", "", title) : null, ...[1, 2, 3].map(() => make("div", "bone"))));
  const columns = make("div", sides.length > 1 ? "columns two" : "columns", bones);
  columns.setAttribute("aria-busy", "true");
  const slow = setTimeout(() => {
    if (columns.isConnected) {
      columns.before(make("p", "say", "Still at it: the first question to a pipeline loads its model and its index."));
    }
  }, 2500);
  results.replaceChildren(columns);
  return slow;
}

function show(sides, replies, state) {
  const two = sides.length > 1;
  const parts = [];
  let marks = [[], []];
  if (two && replies.every((reply) => !(reply instanceof Error))) {
    const [left, right] = replies.map((reply) => reply.answers[0].hits);
    // Another pipeline, or another space, may cut its texts in other ways.
    const bySource = state.compare === "space" || (state.compare === "pipeline" && state.pipeline !== state.other);
    const found = compared(left, right, bySource);
    parts.push(summaryOf(found, sides[0].name, sides[1].name, bySource));
    marks = ["left", "right"].map((side, at) =>
      found[side].map((twin, place) => ({ badge: movement(place, twin, side), name: found.names[at][place] })));
  }
  const columns = replies.map((reply, at) =>
    reply instanceof Error
      ? make("section", "column", sides[at].title ? make("h2", "", sides[at].title) : null, make("p", "failed", reply.message))
      : column(sides[at].title, reply, marks[at]));
  parts.push(make("div", two ? "columns two" : "columns", columns));
  results.replaceChildren(...parts);
  noticeFlip(sides, replies);
}

/** Another space serves than what the page was told: it asks again what there is. */
function noticeFlip(sides, replies) {
  const name = form.elements.pipeline.value;
  const known = details.get(JSON.stringify([name, form.elements.space.value]));
  const flipped = known && sides.some(({ body }, at) =>
    body.pipeline === name && !body.space && !(replies[at] instanceof Error)
    && replies[at].answers[0].space !== servingOf(known.spaces, known.space));
  if (!flipped) return;
  details.clear();
  describe();
}

function welcome() {
  document.title = "Search";
  const list = make("ul", "", listing.map((each) =>
    make("li", "",
      each.fault ? make("strong", "", each.name) : chooser(each.name),
      each.fault ? make("p", "fault", sentence(`broken: ${each.fault}`)) : null,
      each.missing.length ? make("p", "lacks", `Needs ${each.missing.join(" and ")} in the server's environment.`) : null)));
  const hint = listing.length
    ? make("h2", "", "Type a question and press ", make("kbd", "", "Enter"), ". The pipelines of this project:")
    : make("h2", "", "This project has no pipeline yet: add a module to pipelines/.");
  results.replaceChildren(make("div", "welcome", hint, list));
}

function chooser(name) {
  const button = make("button", "name", name);
  button.type = "button";
  button.addEventListener("click", () => {
    form.elements.pipeline.value = name;
    forgetSpaces();
    describe();
    form.elements.query.focus();
  });
  return button;
}

// --- what people do

function refresh() {
  const state = readForm();
  const count = optionsSet(state);
  byId("set").hidden = !count;
  byId("set").textContent = String(count);
  form.querySelector(".other").hidden = state.compare !== "pipeline";
  showSpaces(state.compare);
  apart();
  for (const each of form.querySelectorAll(".hybrid")) each.hidden = state.mode !== "hybrid";
}

/** A pipeline beside itself shows nothing: another one is chosen, where there is one. */
function apart() {
  const { pipeline, other } = form.elements;
  if (other.value !== pipeline.value) return;
  const free = [...other.options].find((option) => !option.disabled && option.value !== pipeline.value);
  if (free) other.value = free.value;
}

function submit() {
  const address = toAddress(readForm());
  if (address !== location.hash) history.pushState(null, "", address);
  refresh();
  search();
}

function showOptions(open) {
  byId("options").hidden = !open;
  byId("more").setAttribute("aria-expanded", String(open));
}

function fromHere() {
  fillForm(fromAddress());
  refresh();
  if (optionsSet(readForm())) showOptions(true);
  describe();
  search();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
form.addEventListener("change", (event) => {
  if (event.target.name === "pipeline") forgetSpaces();
  refresh();
  if (event.target.name === "pipeline" || event.target.name === "space") describe();
  // What has been asked is asked again in the other way; a filter waits for its Enter.
  if (form.elements.query.value.trim() && !["query", "filter"].includes(event.target.name)) submit();
});
form.addEventListener("input", refresh);
form.elements.filter.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    submit();
  }
});
byId("more").addEventListener("click", () => showOptions(byId("options").hidden));
window.addEventListener("popstate", fromHere);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "")) {
    event.preventDefault();
    form.elements.query.focus();
  }
});
// The counterpart of a hit in the other column.
results.addEventListener("mouseover", (event) => {
  const name = event.target.closest?.(".hit")?.dataset.twin;
  for (const card of results.querySelectorAll(".hit")) {
    card.classList.toggle("twin", name !== undefined && card.dataset.twin === name);
  }
});

try {
  await loadPipelines();
  fromHere();
} catch (error) {
  results.replaceChildren(make("p", "failed", error.message));
}
