"""A hit as the frameworks have it: a text, an id in text, and metadata that JSON can hold."""

from collections.abc import Iterable
from typing import Any

from pipelines.operations.search import Searcher, SearchHit
from resources.core.errors import ConfigurationError
from resources.core.plain import id_text, plain

OURS = ("score", "lineage", "source_id", "ranks", "others", "passage")
"""Names in the metadata that are not the source's."""


def text_of(hit: SearchHit) -> str:
    """What a model shall read: where `expand` was asked for, the text around too."""
    return hit.context or hit.text or ""


def metadata_of(hit: SearchHit) -> dict[str, Any]:
    """The fields by name, and beside them what the search says of the hit.

    `score` and `lineage` (model, space, batch, run, time) always; `source_id`, the document that a
    chunk is of; `ranks` and `others` where the search gives them; `passage`, the chunk itself where
    the text is what stands around it. A field of the source with one of these names is called
    `field_` and its name.
    """
    fields = {f"field_{name}" if name in OURS else name: v for name, v in hit.fields.items()}
    about: dict[str, Any] = {
        "score": hit.score,
        "lineage": hit.lineage,
        "source_id": id_text(hit.source_id),
    }
    if hit.ranks:
        about["ranks"] = hit.ranks
    if hit.others:
        about["others"] = hit.others
    if hit.context and hit.context != hit.text:
        about["passage"] = hit.text
    return plain({**fields, **about})


class SpaceVector(list[float]):
    """A vector that says which space it is of: a searcher asks it there, whichever serves by then.

    Attributes:
        space: Id of the space.
    """

    def __init__(self, values: Iterable[float], space: str) -> None:
        super().__init__(values)
        self.space = space


def space_of_floats(searcher: Searcher, framework: str) -> str:
    """Id of the space that serves; refuses to hand out vectors that would be taken for others.

    Raises:
        ConfigurationError: They are no floats: among doubles an int8 or packed vector finds
            nothing, and no server says so.
    """
    space = searcher.space
    if space.element != "float32":
        raise ConfigurationError(
            f"the pipeline {searcher.name} embeds as {space.element}, and {framework} "
            "takes vectors for floats: let the provider return floats (`vector_store: {dtype: "
            "int8}` stores them small all the same), or use the retriever, which knows the type"
        )
    return space.id
