"""Documents written into the configuration itself."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from resources.core.config import StrictConfig
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.rejection import rejected
from resources.sources.shape import RecordShape
from resources.sources.values import describe_type


class TextsOrigin(StrictConfig):
    """Texts that stand in the YAML."""

    kind: Literal["texts"] = "texts"
    # `| None` because Dagster fails on a null in a list[Any] before we could reject that record.
    documents: list[Any | None] = Field(
        description="Strings, each with its position from 0 as id; or mappings with the id field, "
        "the text field and carried fields."
    )

    def records(self, shape: RecordShape) -> Iterator[SourceDocument | RejectedRecord]:
        for position, document in enumerate(self.documents):
            where = f"documents[{position}]"
            if isinstance(document, str):
                yield shape.given(position, document, "the text", where, {})
            elif isinstance(document, Mapping):
                yield shape.document(document, where)
            else:
                reason = f"a document is text or an object, and this is {describe_type(document)}"
                yield rejected(where, reason, document)

    def describe(self) -> str:
        return f"texts ({len(self.documents)} in the configuration)"

    def uri(self) -> str | None:
        return None
