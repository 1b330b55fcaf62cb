"""A fragment that overrides what an earlier file of the same pipeline chose: seldom meant.

A fragment lies in a folder that is called like the resource it sets (`embedder/minilm.yaml`), and
fits any pipeline. Named after a pipeline's own file it has the last word, in silence; named first,
it is what the own file builds on. What other files override, and what `-c` does, is meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource

from pipelines.framework.run_config import Path_, resource_values


@dataclass(frozen=True)
class Overruled:
    """A choice that a fragment takes back.

    Attributes:
        key: What was chosen: `embedder.provider`.
        chosen_by: The earlier file.
        fragment: The later one, which wins.
        choices: Theirs, where it is one of a few names, as of providers; else empty.
    """

    key: str
    chosen_by: str
    fragment: str
    choices: tuple[str, str] | tuple[()] = ()

    @property
    def what(self) -> str:
        """The fact, as a sentence without its end."""
        was, now = (f" {choice}" for choice in self.choices) if self.choices else ("", " another")
        return (
            f"{self.chosen_by} chooses `{self.key}`{was}, and {self.fragment}, named after it in "
            f"`configs`, chooses{now} and wins"
        )

    @property
    def fix(self) -> str:
        return f"name {self.fragment} before {self.chosen_by}, or take one of the two out"

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}"


def overruled(
    files: Sequence[str | Path], classes: Mapping[str, type[ConfigurableResource]]
) -> list[Overruled]:
    """What fragments among a pipeline's own files override of what stands before them.

    Args:
        files: The pipeline's run configs, in their order.
        classes: Of the resources.

    Raises:
        ConfigurationError: As `resource_values`.
    """
    found: list[Overruled] = []
    owners: dict[Path_, str] = {}

    def said(file: str | Path, path: Path_, old: Any, new: Any) -> None:
        owner = _owner(owners, path)
        if old is not None and old != new and owner and _is_fragment(file, classes):
            key = ".".join(map(str, path))
            found.append(Overruled(key, owner, str(file), _names(old, new)))
        for below in [known for known in owners if known[: len(path)] == path]:
            del owners[below]
        owners[path] = str(file)

    resource_values(files, classes, said)
    return found


def _owner(owners: Mapping[Path_, str], path: Path_) -> str:
    """The file that chose what stands at a path, or what it is a part of."""
    above = (path[:length] for length in range(len(path), 0, -1))
    return next((owners[known] for known in above if known in owners), "")


def _is_fragment(file: str | Path, classes: Mapping[str, Any]) -> bool:
    return Path(file).parent.name in classes


def _names(old: Any, new: Any) -> tuple[str, str] | tuple[()]:
    """Of the two variants of a union; of other values none, which might be secret or long."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping) and len(old) == len(new) == 1):
        return ()
    was, now = str(next(iter(old))), str(next(iter(new)))
    return () if "env" in (was, now) or was == now else (was, now)
