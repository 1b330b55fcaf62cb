// What is shown is text: nothing here is ever parsed as HTML.

/** An element with a class, properties and children; texts become text nodes. */
function make(name, look, ...children) {
  const element = document.createElement(name);
  if (look) element.className = look;
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== "") element.append(child);
  }
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

/** A link out of this page; anything but http(s) becomes plain text. */
function link(text, url) {
  if (!/^https?:\/\//.test(url || "")) return text;
  const element = make("a", "", text);
  element.href = url;
  element.target = "_blank";
  element.rel = "noopener noreferrer";
  return element;
}

/** Extended JSON as people write it: a date, an id, a list. */
function plain(value) {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (typeof value === "object") {
    const names = Object.keys(value);
    if (names.length === 1 && names[0] === "$date") return moment(value);
    if (names.length === 1 && names[0].startsWith("$") && typeof value[names[0]] !== "object") {
      return String(value[names[0]]);
    }
    return JSON.stringify(value);
  }
  return String(value);
}

function moment(value) {
  const given = value && typeof value === "object" ? value.$date : value;
  const date = new Date(typeof given === "object" && given ? Number(given.$numberLong) : given);
  if (Number.isNaN(date.getTime())) return plain(String(given));
  return date.toISOString().slice(0, 16).replace("T", " ") + " UTC";
}

function number(value) {
  return Number(value).toLocaleString("en");
}

function score(value) {
  return Math.abs(value) < 100 ? value.toFixed(4) : value.toPrecision(6);
}

/** A bar from 0 to 1; drawn by a property, since the page allows no inline style. */
function meter(share) {
  const fill = make("i");
  fill.style.width = `${Math.round(Math.max(0, Math.min(1, share)) * 100)}%`;
  return make("span", "meter", fill);
}

function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}
