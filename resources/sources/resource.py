"""The source of a pipeline: where documents come from, and what of them is embedded."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import pymongo
from pydantic import Field, field_validator, model_validator

from resources.core.config import StrictResource
from resources.sources.changes import Changes
from resources.sources.chunking import PLACE_FIELD, Chunking, NoChunking
from resources.sources.collection import CollectionOrigin
from resources.sources.csv_files import CsvOrigin
from resources.sources.fields import check_path, inside
from resources.sources.folder import FolderOrigin
from resources.sources.inline import TextsOrigin
from resources.sources.json_files import JsonlOrigin
from resources.sources.parquet import ParquetOrigin
from resources.sources.records import RejectedRecord, RenderedDocument, SourceDocument
from resources.sources.shape import ManyTexts, RecordShape
from resources.sources.text import TextField, TextTemplate, parse_text


class SourceResource(StrictResource):
    """Reads documents from texts, files, a folder or a collection, one at a time.

    A record that cannot be embedded is set aside (a RejectedRecord) and the rest goes on; a source
    that cannot be read at all is a SourceError. Errors of MongoDB are left as PyMongo raises them.
    """

    origin: (
        TextsOrigin | JsonlOrigin | CsvOrigin | ParquetOrigin | FolderOrigin | CollectionOrigin
    ) = Field(
        discriminator="kind",
        description="Where documents come from: exactly one of texts, jsonl, csv, parquet, folder, "
        "collection.",
    )
    id_field: str = Field(
        default="_id",
        description="The field that identifies a record, dotted if nested. A folder has none.",
    )
    text: str = Field(
        default="text",
        description="The field to embed, dotted if nested, or a template over several: "
        "'{title}: {plot}'. Does not apply to a folder, whose files are embedded whole.",
    )
    join: str | None = Field(
        default=None,
        description="What stands between texts where a field that `text` names holds a list of "
        'them, such as ", "; without it such a record is rejected.',
    )
    carry: list[str] = Field(
        default=[],
        description="Fields carried along for filtering and display, where a record has them.",
    )
    chunking: Chunking = Field(
        default=NoChunking(),
        discriminator="kind",
        description="How long documents are cut: exactly one of none, recursive, token, markdown, "
        "code.",
    )
    limit: int | None = Field(default=None, ge=1, description="Read at most this many records.")
    changes: Changes = Field(
        default=Changes(),
        description="Records that a run compares alone; for the config of one run, such as the "
        "sensor's.",
    )

    @field_validator("id_field")
    @classmethod
    def _path(cls, value: str) -> str:
        return check_path(value, "id_field")

    @field_validator("text")
    @classmethod
    def _field_or_template(cls, value: str) -> str:
        parse_text(value)
        return value

    @field_validator("carry")
    @classmethod
    def _distinct_paths(cls, value: list[str]) -> list[str]:
        for path in value:
            check_path(path, "carry")
            if value.count(path) > 1:
                raise ValueError(f"carry: {path!r} is named twice")
            for other in value:
                if inside(path, other):
                    raise ValueError(f"carry: {other!r} already includes {path!r}")
        return value

    @model_validator(mode="after")
    def _no_carried_field_is_taken(self) -> "SourceResource":
        taken = [path for path in self.carry if path.split(".")[0] == PLACE_FIELD]
        if taken and not isinstance(self.chunking, NoChunking):
            raise ValueError(
                f"carry: {taken[0]!r} is where a chunk's place in its document is kept: do not "
                "carry it, or rename it in the source"
            )
        return self

    @model_validator(mode="after")
    def _changes_are_of_a_collection(self) -> "SourceResource":
        if self.changes.ids and not self.by_id:
            raise ValueError(
                "changes.ids: only records of a collection that are known by their `_id`, without "
                "a `limit`, can be compared alone: leave `changes` out"
            )
        return self

    @property
    def by_id(self) -> bool:
        """Whether single records can be told to be there, or not, by the ids of documents."""
        collection = isinstance(self.origin, CollectionOrigin)
        return collection and self.id_field == "_id" and self.limit is None

    @property
    def needs_mongodb(self) -> bool:
        """Whether `read` needs a client."""
        return isinstance(self.origin, CollectionOrigin)

    def text_shape(self) -> TextField | TextTemplate:
        """Where a record has its text."""
        return parse_text(self.text, self.join)

    def read(
        self, client: pymongo.MongoClient | None, ids: Sequence[Any] | None = None
    ) -> Iterator[SourceDocument | RejectedRecord]:
        """Streams the source; files and cursors are closed when the iterator is.

        Args:
            client: Where the source is a collection.
            ids: Only these records of a collection, as far as they are of the source.
        """
        shape = RecordShape(self.id_field, self.text_shape(), tuple(self.carry))
        with closing(self._records(client, shape, ids)) as records:
            yield from islice(records, None if ids is not None else self.limit)

    def read_many(
        self,
        client: pymongo.MongoClient | None,
        texts: Sequence[TextField | TextTemplate],
        carry: Sequence[str],
    ) -> Iterator[RenderedDocument | RejectedRecord]:
        """As `read`, with several texts of every record, and other fields carried along."""
        shape = ManyTexts(self.id_field, texts[0], tuple(carry), tuple(texts[1:]))
        with closing(self._records(client, shape)) as records:
            for record in islice(records, self.limit):
                assert isinstance(record, RenderedDocument | RejectedRecord)
                yield record

    def _records(
        self,
        client: pymongo.MongoClient | None,
        shape: RecordShape,
        ids: Sequence[Any] | None = None,
    ) -> Generator[SourceDocument | RejectedRecord, None, None]:
        if not isinstance(self.origin, CollectionOrigin):
            if ids is not None:
                raise ValueError("only records of a collection are found by their ids")
            yield from self.origin.records(shape)
        elif client is None:
            raise ValueError("a collection is read through a client")
        else:
            limit = None if ids is not None else self.limit
            yield from self.origin.records(shape, client, limit, ids)

    def describe(self) -> str:
        """The source in a few words: `jsonl configs/quickstart.jsonl`."""
        return self.origin.describe()

    def uri(self) -> str | None:
        """Where the files are, for the metadata `dagster/uri`; texts and collections have none."""
        return self.origin.uri()
