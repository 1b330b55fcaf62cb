// One column: a search's hits, or why there are none.

function column(title, reply, marks = []) {
  const answer = reply.answers[0];
  const section = make("section", "column", title ? make("h2", "", title) : null, facts(answer));
  for (const note of answer.notes) section.append(make("p", "noted", note));
  if (!answer.hits.length) {
    section.append(make("p", "say", `Nothing found: ${answer.why_empty || "nothing is near enough"}.`));
    return section;
  }
  const share = measure(answer);
  const list = make("ol", "hits");
  answer.hits.forEach((hit, at) => list.append(hitCard(hit, at, share(hit.score), marks[at])));
  section.append(list);
  return section;
}

/** How long a score's bar is: of vectors the score itself, of others by the best and the worst. */
function measure(answer) {
  const scores = answer.hits.map((hit) => hit.score);
  const [least, best] = [Math.min(...scores), Math.max(...scores)];
  if (answer.mode === "vector" && least >= 0 && best <= 1) return (score) => score;
  const from = Math.min(least, 0);
  return (score) => (score - from) / (best - from || 1);
}

function facts(answer) {
  const details = make("details", "", make("summary", "", "how"));
  details.append(make("pre", "", JSON.stringify({ ...answer.stage, index: answer.index, space: answer.space }, null, 2)));
  const milliseconds = answer.seconds * 1000;
  const took = milliseconds < 1000 ? `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms` : `${answer.seconds.toFixed(1)} s`;
  return make(
    "div", "facts",
    `${plural(answer.hits.length, "hit")} in ${took} · engine ${answer.engine} · score: ${answer.score} · `,
    details,
  );
}

function hitCard(hit, at, share, mark) {
  const value = make("span", "score", meter(share), score(hit.score));
  const ranks = Object.entries(hit.ranks).map(([name, rank]) => make("span", "move", `${name} #${rank}`));
  const body = make(
    "div", "",
    make("div", "head", make("span", "id", plain(hit.id)), mark ? mark.badge : null, ranks, value),
    ...texts(hit),
    tags(hit),
    lineage(hit),
  );
  const card = make("li", "hit", make("span", "rank", String(at + 1)), body);
  if (mark) card.dataset.twin = mark.name;
  return card;
}

function texts(hit) {
  const text = hit.context ?? hit.text;
  if (text === null) return [make("p", "text none", "Its document has no text any more.")];
  const paragraph = make("p", "text");
  const at = hit.context && hit.text ? hit.context.indexOf(hit.text) : -1;
  if (at >= 0 && hit.context.length > hit.text.length) {
    paragraph.append(text.slice(0, at), make("mark", "", hit.text), text.slice(at + hit.text.length));
    return [paragraph];
  }
  paragraph.append(text);
  if (text.length < 320 && text.split("\n").length < 5) return [paragraph];
  paragraph.classList.add("long");
  const more = make("button", "link", "Show all");
  more.type = "button";
  more.addEventListener("click", () => {
    more.textContent = paragraph.classList.toggle("long") ? "Show all" : "Show less";
  });
  return [paragraph, more];
}

function tags(hit) {
  const found = Object.entries(hit.fields).map(([name, value]) => {
    const shown = plain(value);
    return make("span", "tag", make("b", "", name), " ", shown.length > 160 ? `${shown.slice(0, 160)}…` : shown);
  });
  if (hit.others) found.push(make("span", "tag", `+ ${plural(hit.others, "more chunk")} of this document`));
  return found.length ? make("div", "tags", found) : null;
}

function lineage(hit) {
  const made = hit.lineage;
  if (!Object.keys(made).length) return make("p", "lineage", "No lineage is stored with this vector.");
  const model = String(made.model ?? "unknown model").split("/").pop();
  const run = made.run ? link(`run ${String(made.run).slice(0, 8)}`, hit.run_url) : null;
  const parts = [model, run, made.batch ? `batch ${String(made.batch).slice(0, 8)}` : null, made.at ? moment(made.at) : null];
  const summary = make("summary");
  parts.filter(Boolean).forEach((part, at) => summary.append(at ? " · " : "", part));
  const list = make("dl");
  const add = (name, value) => list.append(make("dt", "", name), make("dd", "", value));
  if (JSON.stringify(hit.source_id) !== JSON.stringify(hit.id)) add("document", plain(hit.source_id));
  for (const [name, value] of Object.entries(made)) {
    add(name, name === "run" ? link(plain(value), hit.run_url) : plain(value));
  }
  return make("details", "lineage", summary, list);
}
