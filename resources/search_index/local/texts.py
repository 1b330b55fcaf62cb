"""Which text of a stored document is searched by its words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bson

from resources.core.footprint import footprint
from resources.search_index.declaration import TextDeclaration
from resources.search_index.filters.values import Kind, leaves
from resources.search_index.local.signatures import documents
from resources.vector_store.store import VectorStore


class Texts:
    """The declared fields of a document, or else the text that its vector was made of.

    Attributes:
        fields: Of a document, that have to be read for it.
        marked: Those of them that tell whether it has changed; none where its lineage tells,
            because the text was written together with the vector.
    """

    def __init__(self, store: VectorStore, declared: TextDeclaration) -> None:
        self._store, self._declared = store, declared
        self.fields: Sequence[str] = declared.fields or store.text_shape.fields
        self._names = {path.split(".")[0] for path in self.fields}
        ours = not declared.fields and not store.in_place
        self.marked: Sequence[str] = () if ours else self.fields

    @property
    def declaration(self) -> dict[str, Any]:
        """What of it makes an index another one."""
        return {
            "tokenizer": self._declared.tokenizer,
            "fields": list(self.fields),
            "marked": list(self.marked),
            "as embedded": not self._declared.fields,
        }

    def size(self, document: Mapping[str, Any]) -> int:
        """Bytes of those fields in memory, roughly."""
        return sum(footprint(document.get(name)) for name in self._names)

    def read(self, space_id: str, expected: int) -> Iterator[tuple[list[Any], list[str | None]]]:
        """Ids and texts of all documents of a space, in batches, without their vectors."""
        codec = self._store.collection.codec_options
        for batch in self._store.marks(space_id, self.fields, expected=expected):
            rows = [bson.decode(part, codec) for part in documents(batch)]
            yield [row["_id"] for row in rows], [self.of(row) for row in rows]

    def of(self, document: Mapping[str, Any]) -> str | None:
        """None where there is no text in it; texts in lists, and of several fields, as one."""
        if not self._declared.fields:
            return self._store.text(document)
        found = [text for path in self._declared.fields for text in _at(document, path)]
        return "\n".join(found) if found else None


def _at(document: Mapping[str, Any], path: str) -> list[str]:
    whole = path in document
    found = leaves(document[path], ()) if whole else leaves(document, path.split("."))
    return [value for kind, value in found if kind is Kind.STRING]
