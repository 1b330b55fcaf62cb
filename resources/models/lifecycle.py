"""Models that their maker is giving up: what the catalogue says of them, and what comes next."""

from dataclasses import dataclass

import yaml

from resources.core.paths import CODE_ROOT
from resources.core.space import EmbeddingSpace
from resources.models.catalogue import ModelEntry, Status, find, load_catalogue


@dataclass(frozen=True)
class Outdated:
    """A model that is not active any more.

    Attributes:
        state: Today.
        successor: What its maker recommends instead; None where the catalogue names nothing.
    """

    entry: ModelEntry
    state: Status
    successor: ModelEntry | None

    def __str__(self) -> str:
        """As one sentence, without what is to be done."""
        return f"{self.entry.model} is {self.state}{self._until}"

    @property
    def _until(self) -> str:
        entry = self.entry
        if self.state == "legacy" and entry.deprecated:
            told = f", to be deprecated on {entry.deprecated}"
            return told + (f" and switched off on {entry.retired}" if entry.retired else "")
        if self.state != "retired" and entry.retired:
            return f", and switched off on {entry.retired}"
        return f" since {entry.retired}" if self.state == "retired" and entry.retired else ""

    def way_out(self, pipeline: str) -> str:
        """How its successor is built beside, as a sentence; empty where none is known."""
        if self.successor is None:
            return ""
        return (
            f"its maker recommends {self.successor.model}, which {built_beside(pipeline, self)}"
            " builds beside"
        )


def outdated(provider: str, model: str) -> Outdated | None:
    """What is to be said of a model; None where it is active, or not known."""
    entry = find(provider, model)
    if entry is None or entry.state() == "active":
        return None
    return Outdated(entry, entry.state(), successor(entry))


def outdated_space(space: EmbeddingSpace, model: str | None = None) -> Outdated | None:
    """The same of who made a space's vectors.

    Args:
        space: Its model, or the family of it.
        model: The member of the family, where it is known; else one that is still active will do.
    """
    if model is not None and (found := find(space.provider, model)):
        return outdated(found.provider, found.model)
    members = [each for each in load_catalogue().values() if _in(each, space)]
    if not members or any(each.state() == "active" for each in members):
        return None
    return outdated(members[0].provider, members[0].model)


def successor(entry: ModelEntry) -> ModelEntry | None:
    """The model that is recommended instead, itself or through others, that is still active.

    Where all of them are given up too, the last one.
    """
    found, seen = entry, {entry.model}
    while found.successor and found.successor not in seen:
        after = find(entry.provider, found.successor)
        if after is None:
            break
        found = after
        seen.add(found.model)
        if found.state() == "active":
            break
    return None if found is entry else found


def built_beside(pipeline: str, old: Outdated) -> str:
    """The command that builds the successor beside, and what its file says where it has to be made.

    Fragments come with the code for some models; the key's variable stands in them.
    """
    entry = old.successor
    assert entry is not None
    for file in sorted((CODE_ROOT / "configs" / "embedder").glob("*.yaml")):
        content = yaml.safe_load(file.read_text("utf-8"))
        provider = content["resources"]["embedder"]["config"]["provider"]
        if provider.get(entry.provider, {}).get("model") == entry.model:
            return f"`embeddings run {pipeline} -c embedder/{file.name}`"
    chosen = f"{{provider: {{{entry.provider}: {{model: {entry.model}}}}}}}"
    return (
        f"`embeddings run {pipeline} -c FILE`, with `resources: {{embedder: {{config: {chosen}}}}}`"
        " in FILE,"
    )


def _in(entry: ModelEntry, space: EmbeddingSpace) -> bool:
    return entry.task == "embed" and (entry.provider, entry.space) == (space.provider, space.model)
