// Two lists of hits: which are in both, and what moved.

/**
 * Each hit's counterpart in the other list, by its place from 0.
 * Within one pipeline a hit is its document; across two, which may cut texts in other ways, it is
 * the source document, whose first chunk counts.
 */
function compared(left, right, bySource) {
  const name = (hit) => JSON.stringify(bySource ? hit.source_id ?? hit.id : hit.id);
  const places = (hits) => {
    const found = new Map();
    hits.forEach((hit, at) => found.has(name(hit)) || found.set(name(hit), at));
    return found;
  };
  const inLeft = places(left), inRight = places(right);
  const shared = [...inLeft.keys()].filter((key) => inRight.has(key));
  const most = Math.max(inLeft.size, inRight.size);
  return {
    shared: shared.length,
    most,
    overlap: most ? shared.length / most : 1,
    still: shared.filter((key) => inLeft.get(key) === inRight.get(key)).length,
    left: left.map((hit) => inRight.get(name(hit)) ?? null),
    right: right.map((hit) => inLeft.get(name(hit)) ?? null),
    names: [left.map(name), right.map(name)],
  };
}

function summaryOf(found, leftName, rightName, bySource) {
  const [left, right] = [found.left, found.right].map(
    (twins) => twins.filter((twin) => twin === null).length,
  );
  const moved = found.shared - found.still;
  return make(
    "div", "summary",
    make("span", "overlap", `overlap@${found.most} `, make("strong", "", found.overlap.toFixed(2))),
    meter(found.overlap),
    make("span", "", make("strong", "", `${found.shared} of ${found.most}`), bySource ? " documents in both" : " in both"),
    make("span", "", make("strong", "", String(found.still)), " at the same place"),
    make("span", "", make("strong", "", String(moved)), " moved"),
    make("span", "", make("strong", "", String(left)), ` only in ${leftName}`),
    make("span", "", make("strong", "", String(right)), ` only in ${rightName}`),
  );
}

/** What became of a hit: for the right column against the left, and the other way round. */
function movement(at, twin, side) {
  if (twin === null) return make("span", "move only", side === "right" ? "new" : "only here");
  if (twin === at) return make("span", "move", "same place");
  if (side === "left") return make("span", "move", `→ #${twin + 1}`);
  const up = twin > at;
  const badge = make("span", `move ${up ? "up" : "down"}`, `${up ? "↑" : "↓"} ${Math.abs(twin - at)}`);
  badge.title = `from #${twin + 1} to #${at + 1}`;
  return badge;
}
