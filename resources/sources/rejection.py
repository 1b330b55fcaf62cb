"""How one bad record becomes a RejectedRecord, while the rest of the source goes on."""

from typing import Any

from resources.sources.records import EXCERPT_LENGTH, RejectedRecord


class BadRecord(Exception):
    """Raised where a record turns out unusable; it never leaves the source."""

    def __init__(self, reason: str, found: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.found = found


def rejected(
    where: str, reason: str, found: Any, record_id: Any = None, *, hides: bool = False
) -> RejectedRecord:
    excerpt = found if isinstance(found, str) else _repr(found)
    return RejectedRecord(
        id=record_id,
        where=_encodable(where),
        reason=_encodable(reason),
        excerpt=_encodable(excerpt[:EXCERPT_LENGTH])[:EXCERPT_LENGTH],
        hides=hides,
    )


def _repr(found: Any) -> str:
    try:
        return repr(found)
    except RecursionError:  # so deeply nested is what was found
        return f"{type(found).__name__} of many levels"


def _encodable(text: str) -> str:
    # Rejections are stored: the lone surrogate that spoiled a record must not spoil its report.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
