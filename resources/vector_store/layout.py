"""What stands in a document beside its vector: as we have it, or as a framework's reader wants it.

LangChain's `MongoDBAtlasVectorSearch` (langchain-mongodb 0.12) takes every field but the text for
metadata, and turns dates and ObjectIds into text itself. LlamaIndex's (0.11) looks for a serialised
node in `metadata`, whose other fields are for its filters. Both want metadata that JSON can hold.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson.objectid import ObjectId

from resources.core.chunks import Chunk
from resources.core.plain import id_text, plain
from resources.core.vectors import Layout
from resources.sources.chunking import PLACE_FIELD
from resources.sources.fields import overlap

METADATA = "metadata"
"""Where LlamaIndex's reader looks for everything but text and vector."""

TAKEN: Mapping[Layout, frozenset[str]] = {
    "plain": frozenset(),
    # Their reader puts the score there, and takes it out again.
    "langchain": frozenset({"score"}),
    "llamaindex": frozenset({"_node_content", "_node_type", "document_id", "doc_id", "ref_doc_id"}),
}
"""Names that the reader needs for itself."""

_THEY_CONVERT = (ObjectId, datetime)


def needed(layout: Layout) -> Sequence[str]:
    """Paths where the reader must find text, or fails."""
    if layout == "plain":
        return ()
    return ("text", f"{METADATA}._node_content") if layout == "llamaindex" else ("text",)


def laid_out(
    layout: Layout, chunk: Chunk, lineage: Mapping[str, Any], lineage_path: str
) -> Mapping[str, Any]:
    """What a chunk carries, as it is stored: by name of the document's fields.

    Args:
        layout: Of the document.
        chunk: What carries it.
        lineage: As it is stored with the vector; LlamaIndex's reader sees nothing but the node.
        lineage_path: The lineage's name there.
    """
    if layout == "langchain":
        return {name: _convertible(value) for name, value in chunk.fields.items()}
    if layout == "llamaindex":
        # What stands around a chunk is found by its place, which is no field of the source.
        place = {name: value for name, value in chunk.fields.items() if name == PLACE_FIELD}
        return {METADATA: _node_metadata(chunk, lineage, lineage_path), **place}
    return chunk.fields


def place(layout: Layout, name: str, carried: Collection[str]) -> str:
    """Where a field lies that is named as the source names it; others are where they are."""
    if layout == "llamaindex" and any(overlap(name, path) for path in carried):
        return f"{METADATA}.{name}"
    return name


def placed(layout: Layout, clause: Any, carried: Collection[str]) -> Any:
    """A filter by carried fields as it finds them in this layout: names and values."""
    if layout != "llamaindex":
        return clause
    if isinstance(clause, Mapping):
        found = {}
        for name, inner in clause.items():
            at = name if name.startswith("$") else place(layout, name, carried)
            # The values of other fields are what they are.
            ours = at != name
            found[at] = plain(inner) if ours else placed(layout, inner, carried)
        return found
    if isinstance(clause, (list, tuple)):
        return [placed(layout, inner, carried) for inner in clause]
    return clause


def why_unreadable(layout: Layout, chunk: Chunk) -> str:
    """Why a framework's reader would fail on a chunk's document, and with it on a whole search."""
    if layout == "langchain":
        for value in (chunk.id, chunk.source_id):
            if isinstance(value, bool) or not isinstance(value, (str, int, float, *_THEY_CONVERT)):
                return (
                    f"its id is a {type(value).__name__}, which LangChain's reader cannot take: "
                    "name a field of text or numbers as `id_field`, or remove `layout`"
                )
    return ""


def _node_metadata(chunk: Chunk, lineage: Mapping[str, Any], lineage_path: str) -> dict[str, Any]:
    """As `node_to_metadata_dict` of LlamaIndex writes it for a TextNode."""
    fields = {name: plain(value) for name, value in chunk.fields.items()}
    source, within = id_text(chunk.source_id), chunk.fields.get(PLACE_FIELD, {})
    node = {
        "id_": id_text(chunk.id),
        "embedding": None,
        "metadata": {**fields, lineage_path: plain(lineage)},
        # The vector is of the text alone, and a model that answers has no use for the lineage.
        "excluded_embed_metadata_keys": [*fields, lineage_path],
        "excluded_llm_metadata_keys": [lineage_path],
        "relationships": {
            # The source, which is a document.
            "1": {
                "node_id": source,
                "node_type": "4",
                "metadata": {},
                "hash": None,
                "class_name": "RelatedNodeInfo",
            }
        },
        "metadata_template": "{key}: {value}",
        "metadata_separator": "\n",
        "text": "",
        "mimetype": "text/plain",
        "start_char_idx": within.get("start"),
        "end_char_idx": within.get("end"),
        "text_template": "{metadata_str}\n\n{content}",
        "class_name": "TextNode",
    }
    return {
        **fields,
        "_node_content": json.dumps(node, ensure_ascii=False),
        "_node_type": "TextNode",
        "document_id": source,
        "doc_id": source,
        "ref_doc_id": source,
    }


def _convertible(value: Any) -> Any:
    """A value that LangChain's reader makes JSON of: it converts dates and ObjectIds by itself.

    So they stay what they are, and its filters compare them; but not inside of a list, unless that
    holds nothing else.
    """
    if isinstance(value, _THEY_CONVERT):
        return value
    if isinstance(value, Mapping):
        return {name: _convertible(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)) and all(isinstance(v, _THEY_CONVERT) for v in value):
        return list(value)
    return plain(value)
