// A pipeline's embedding spaces: which one is asked, and against which one it is held.

let spaces = []; // of the pipeline that is chosen; the one that serves first

function spaceName(id) {
  return id || spaces[0]?.id || "what serves";
}

function servingOf(found, otherwise) {
  return found.find((each) => each.state === "serving")?.id ?? otherwise;
}

function spaceOption(each) {
  const state = each.state === "serving" ? "serving" : each.incomplete ? `${each.state}, incomplete` : each.state;
  const option = new Option(`${each.id} (${state})`, each.id);
  option.title = [each.model, each.incomplete].filter(Boolean).join(": ");
  return option;
}

/** The choices, as the server has them now; what was chosen stays, and asking it says if it is gone. */
function offerSpaces(found) {
  spaces = found;
  const { space, against } = form.elements;
  const chosen = { space: space.value, against: against.value };
  space.replaceChildren(new Option("whichever serves", ""), ...found.map(spaceOption));
  against.replaceChildren(...found.map(spaceOption));
  choose(space, chosen.space);
  choose(against, chosen.against || (found[1] ?? found[0])?.id || "");
  refresh();
}

/** Of another pipeline the ids mean nothing. */
function forgetSpaces() {
  spaces = [];
  for (const name of ["space", "against"]) form.elements[name].replaceChildren(new Option("", ""));
  if (form.elements.compare.value === "space") form.elements.compare.value = "";
}

/** They are shown where there is a choice, or where one was made. */
function showSpaces(compare) {
  const { space, against } = form.elements;
  const several = spaces.length > 1 || Boolean(space.value) || compare === "space";
  form.querySelector(".spaces").hidden = !several;
  form.querySelector(".space").hidden = !several || compare === "pipeline";
  form.querySelector(".against").hidden = compare !== "space";
  const left = space.value || spaces[0]?.id;
  if (compare === "space" && against.value === left) {
    const free = spaces.find((each) => each.id !== left);
    if (free) choose(against, free.id);
  }
}
