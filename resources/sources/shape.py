"""What of a record becomes a document."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resources.sources.fields import MISSING, lookup, store
from resources.sources.records import RejectedRecord, RenderedDocument, SourceDocument
from resources.sources.rejection import BadRecord, rejected
from resources.sources.text import TextField, TextTemplate, embeddable
from resources.sources.values import storable, storable_id


@dataclass(frozen=True, slots=True)
class RecordShape:
    """Where the id, the text and the carried fields of a record are found."""

    id_field: str
    text: TextField | TextTemplate
    carry: tuple[str, ...] = ()

    @property
    def required(self) -> dict[str, str]:
        """Fields that every record needs, each with the setting that names it."""
        return {self.id_field: "id_field"} | dict.fromkeys(self.text.fields, "text")

    @property
    def fields(self) -> tuple[str, ...]:
        return (*self.required, *self.carry)

    def document(
        self, record: Mapping[str, Any], where: str, found: Any = None, *, is_bson: bool = False
    ) -> SourceDocument | RejectedRecord:
        """The document that a record of named fields makes.

        Args:
            record: The fields of the record.
            where: The place of the record, for a person to look at.
            found: What to show of a rejected record, where that is not its fields.
            is_bson: Its values come from MongoDB, and are not to be converted.
        """
        record_id = None
        try:
            raw_id = lookup(record, self.id_field)
            record_id = storable_id(raw_id, f"id field {self.id_field!r}", is_bson=is_bson)
            fields = self._carried(record, is_bson=is_bson)
            return SourceDocument(record_id, self.text.render(record), fields)
        except BadRecord as bad:
            shown = bad.found if bad.found is not None else found if found is not None else record
            return rejected(where, bad.reason, shown, record_id)

    def given(
        self, record_id: Any, text: Any, what: str, where: str, record: Mapping[str, Any]
    ) -> SourceDocument | RejectedRecord:
        """The document of a source whose id and text are no fields: a file, a plain string."""
        valid_id = None
        try:
            valid_id = storable_id(record_id, "the id")
            return SourceDocument(valid_id, embeddable(text, what), self._carried(record))
        except BadRecord as bad:
            shown = bad.found if bad.found is not None else text
            return rejected(where, bad.reason, shown, valid_id)

    def _carried(self, record: Mapping[str, Any], *, is_bson: bool = False) -> dict[str, Any]:
        carried: dict[str, Any] = {}
        for path in self.carry:
            value = lookup(record, path)
            if value is not MISSING:
                what, levels = f"carried field {path!r}", path.count(".") + 1
                store(carried, path, storable(value, what, levels, is_bson=is_bson))
        return carried


@dataclass(frozen=True, slots=True)
class ManyTexts(RecordShape):
    """A shape that makes several texts of each record at once, for who compares them.

    Attributes:
        others: Where the texts behind the first one are found.
    """

    others: tuple[TextField | TextTemplate, ...] = ()

    @property
    def required(self) -> dict[str, str]:
        needed = {self.id_field: "id_field"}
        for text in (self.text, *self.others):
            needed |= dict.fromkeys(text.fields, "text")
        return needed

    def document(
        self, record: Mapping[str, Any], where: str, found: Any = None, *, is_bson: bool = False
    ) -> SourceDocument | RejectedRecord:
        """A record is rejected only where it makes none of the texts."""
        return _rendered(
            [
                RecordShape(self.id_field, text, self.carry).document(
                    record, where, found, is_bson=is_bson
                )
                for text in (self.text, *self.others)
            ]
        )

    def given(
        self, record_id: Any, text: Any, what: str, where: str, record: Mapping[str, Any]
    ) -> SourceDocument | RejectedRecord:
        """Where the text is no field, all of them are that one."""
        one = RecordShape(self.id_field, self.text, self.carry)
        made = one.given(record_id, text, what, where, record)
        return _rendered([made] * (1 + len(self.others)))


def _rendered(made: list[SourceDocument | RejectedRecord]) -> SourceDocument | RejectedRecord:
    usable = [each for each in made if isinstance(each, SourceDocument)]
    if not usable:
        return made[0]
    texts = tuple(each.text if isinstance(each, SourceDocument) else None for each in made)
    return RenderedDocument(usable[0].id, usable[0].text, usable[0].fields, texts)
