"""The text around a hit, put together from the chunks beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from resources.core.keys import key
from resources.sources.chunking import PLACE_FIELD
from resources.vector_store.store import SOURCE_FIELD, VectorStore


def contexts(
    store: VectorStore, documents: Mapping[str, Mapping[str, Any]], chunks: int
) -> dict[str, str]:
    """The text around each document, so many chunks on either side, by key.

    Args:
        store: The vectors.
        documents: By key, with place and source; one that is a whole document has no entry.
        chunks: How many on either side.
    """
    wanted = []
    for document in documents.values():
        index = _index(document)
        if index is not None:
            around = {"$gte": index - chunks, "$lte": index + chunks}
            wanted.append({SOURCE_FIELD: document[SOURCE_FIELD], f"{PLACE_FIELD}.index": around})
    if not wanted:
        return {}
    by_source: dict[str, dict[int, Mapping[str, Any]]] = {}
    for chunk in store.chunks({"$or": wanted}):
        index = _index(chunk)
        if index is not None:
            by_source.setdefault(key(chunk[SOURCE_FIELD]), {})[index] = chunk
    found = {}
    for name, document in documents.items():
        index = _index(document)
        if index is not None:
            near = by_source.get(key(document[SOURCE_FIELD]), {})
            numbers = [at for at in range(index - chunks, index + chunks + 1) if at in near]
            found[name] = joined([(near[at][PLACE_FIELD], store.text(near[at])) for at in numbers])
    return found


def joined(pieces: Sequence[tuple[Mapping[str, Any], str | None]]) -> str:
    """Chunks in their order as one text; what two of them share stands there once.

    Args:
        pieces: `{start, end}` in the source document, and the text between.
    """
    whole, end = "", 0
    for place, text in pieces:
        if text is None or place["end"] <= end:
            continue
        if whole and place["start"] >= end:
            whole += "\n"  # white space, which no chunk begins or ends with
            end = place["start"]
        whole += text[max(0, end - place["start"]) if whole else 0 :]
        end = place["end"]
    return whole


def _index(document: Mapping[str, Any]) -> int | None:
    place = document.get(PLACE_FIELD)
    if not isinstance(place, Mapping) or not {"index", "start", "end"} <= place.keys():
        return None
    return place["index"]
