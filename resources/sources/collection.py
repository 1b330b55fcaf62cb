"""Documents of a MongoDB collection."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pymongo
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from pydantic import Field, field_validator
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from pymongo.read_preferences import ReadPreference

from resources.core.config import StrictConfig
from resources.core.errors import SourceError
from resources.sources.fields import without_nested
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.shape import RecordShape
from resources.sources.values import UNCONVERTIBLE, bson_value

NAMES_SHOWN = 20
UNAUTHORIZED = 13

Kind = Literal["collection", "view", "timeseries", "missing"]


class CollectionOrigin(StrictConfig):
    """A collection, a view or a time series of the pipeline's deployment."""

    kind: Literal["collection"] = "collection"
    database: str = Field(min_length=1, description="The database that holds the collection.")
    collection: str = Field(min_length=1, description="The collection (or view) to read.")
    # `| None` because Dagster fails on `{field: null}`, a query of its own right.
    filter: dict[str, Any | None] = Field(
        default={},
        description="A MongoDB query; dates and ids as Extended JSON: {$date: …}, {$oid: …}.",
    )
    batch_size: int = Field(default=1000, ge=1, description="Documents fetched at a time.")

    @field_validator("filter")
    @classmethod
    def _convertible(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            bson_value(value)
        except UNCONVERTIBLE as error:
            raise ValueError(f"filter holds Extended JSON that cannot be read: {error}") from None
        return value

    @property
    def namespace(self) -> str:
        return f"{self.database}.{self.collection}"

    def records(
        self,
        shape: RecordShape,
        client: pymongo.MongoClient,
        limit: int | None,
        ids: Sequence[Any] | None = None,
    ) -> Iterator[SourceDocument | RejectedRecord]:
        """Streams the collection as it is now, or later: also from a secondary that lags behind.

        What it lacks yet would be taken for deleted, and no change would ever tell of it again.

        Args:
            shape: What of a record is read.
            client: Of the deployment.
            limit: At most so many.
            ids: Only these records, as far as they pass the filter.
        """
        collection = self.as_it_came(client)
        if ids is not None:
            collection = collection.with_options(read_preference=ReadPreference.PRIMARY)
        found = False
        with (
            _no_earlier(collection) as session,
            collection.find(
                self._query(shape.id_field, ids),
                # Only what is used travels, never the vectors of documents embedded before.
                dict.fromkeys(without_nested(shape.fields), 1),
                batch_size=self.batch_size,
                limit=limit or 0,
                session=session,
            ) as cursor,
        ):
            for record in cursor:
                found = True
                where = self.namespace
                if shape.id_field != "_id":
                    where += f" (_id {record.get('_id')!r})"
                yield shape.document(record, where, is_bson=True)
        # Asked last, and only then: a user who may read need not be allowed to list collections.
        if not found and (ids is None or collection.find_one({}, {"_id": 1}) is None):
            self._check_exists(client)

    def _query(self, id_field: str, ids: Sequence[Any] | None) -> dict[str, Any]:
        query: dict[str, Any] = bson_value(self.filter)
        if ids is None:
            return query
        named = {id_field: {"$in": list(ids)}}
        # Some operators of a filter may stand only at its top.
        return {**query, **named} if id_field not in query else {"$and": [query, named]}

    def kind_of(self, client: pymongo.MongoClient) -> Kind:
        """What the server says it is; only the `_id`s of a collection are unique.

        A plain collection for a user who may read it, and not ask.
        """
        try:
            found = self._listed(client, self.collection)
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise
            return "collection"
        return found.get("type", "collection") if found else "missing"

    def underlying(self, client: pymongo.MongoClient) -> str | None:
        """The namespace that a view reads from in the end; None where it is no view.

        None too where the user is not allowed to ask.
        """
        name, is_view = self.collection, False
        try:
            while (found := self._listed(client, name)) and found["type"] == "view":
                name, is_view = found["options"]["viewOn"], True
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise
            return None
        return f"{self.database}.{name}" if is_view else None

    def _listed(self, client: pymongo.MongoClient, name: str) -> Mapping[str, Any] | None:
        # The filter has the server look at one name only.
        with client[self.database].list_collections(filter={"name": name}) as listed:
            return next(iter(listed), None)

    def as_it_came(self, client: pymongo.MongoClient) -> Collection:
        """The collection, of which every value is read as it is stored."""
        # By default PyMongo ends the whole read at the first date beyond the year 9999 or string
        # that is not UTF-8. So decoded, such a date is kept, and such a string is rejected by us.
        # Whatever the client's URI says of UUIDs: a binary keeps its subtype and its bytes.
        options: CodecOptions[dict[str, Any]] = CodecOptions(
            datetime_conversion=DatetimeConversion.DATETIME_AUTO,
            unicode_decode_error_handler="surrogateescape",
            uuid_representation=UuidRepresentation.UNSPECIFIED,
        )
        database = client[self.database]
        return database.get_collection(self.collection, codec_options=options)

    def _check_exists(self, client: pymongo.MongoClient) -> None:
        names = sorted(client[self.database].list_collection_names())
        if self.collection in names:
            return
        names = [name for name in names if not name.startswith("system.")]
        if not names:
            hint = f"no database {self.database} either: load the data, or check the connection"
        elif len(names) > NAMES_SHOWN:
            hint = f"none of the {len(names)} collections of {self.database} has that name"
        else:
            hint = f"the collections of {self.database} are {', '.join(names)}"
        raise SourceError(f"collection {self.namespace} does not exist in this deployment ({hint})")

    def describe(self) -> str:
        where = f" where {json.dumps(self.filter, default=str)}" if self.filter else ""
        return f"collection {self.namespace}{where}"

    def uri(self) -> str | None:
        return None


@contextmanager
def _no_earlier(collection: Collection) -> Iterator[ClientSession | None]:
    """A session that reads what the primary has now, or later, whoever it is read from.

    None where it is the primary.
    """
    if collection.read_preference == ReadPreference.PRIMARY:
        yield None
        return
    client = collection.database.client
    with client.start_session(causal_consistency=True) as session:
        client.admin.command("ping", session=session)  # the primary tells its time
        yield session
