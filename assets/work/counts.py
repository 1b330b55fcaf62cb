"""What a comparison of source and store found, in numbers."""

import dataclasses
from dataclasses import dataclass, field


@dataclass
class Counts:
    """What the comparison found, in chunks.

    Of those that are stored but no longer cut from the source, `deleted` lost their whole document,
    and `outdated` are of documents that are still there. `rechunked` have come out the same from
    another chunker: their lineage is brought up to date. Those `cut` have a vector of only the
    beginning of their text, which the settings do not want any more. Those `held`, whose text is in
    quarantine, are no work of the run, and in no other number but `source`. Those `set_aside` may
    not be stored, since somebody else's document or vector is in their place: they and the
    `duplicate_ids` are in no other number. Those `narrowed` have a vector in a wider space, which
    is cut.
    """

    source: int = 0
    unchanged: int = 0
    new: int = 0
    changed: int = 0
    cut: int = 0
    reformatted: int = 0
    rechunked: int = 0
    refreshed: int = 0
    deleted: int = 0
    outdated: int = 0
    duplicate_ids: int = 0
    set_aside: int = 0
    held: int = 0
    to_embed: int = 0
    reused: int = 0
    narrowed: int = 0
    replaced_spaces: dict[str, int] = field(default_factory=dict)

    def of_source(self) -> dict[str, int]:
        """What became of every chunk of the source, by name: adds up to `source`."""
        names = ("new", "changed", "cut", "reformatted", "rechunked", "refreshed", "held")
        return {name: getattr(self, name) for name in (*names, "unchanged")}

    def add(self, other: "Counts") -> None:
        """Those of another shard as well."""
        for each in dataclasses.fields(self):
            value, more = getattr(self, each.name), getattr(other, each.name)
            if isinstance(more, int):
                setattr(self, each.name, value + more)
        for space, count in other.replaced_spaces.items():
            self.replaced_spaces[space] = self.replaced_spaces.get(space, 0) + count
