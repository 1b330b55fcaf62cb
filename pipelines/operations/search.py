"""Search a pipeline's index from Python."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.work.opened import Opened
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import QueryRefused
from resources.core.keys import key as key_of
from resources.core.space import EmbeddingSpace
from resources.search_index.query import Query
from resources.search_index.rescoring import rescored
from resources.search_index.scores import meaning
from resources.sources.fields import MISSING, lookup
from resources.sources.rejection import BadRecord
from resources.sources.text import TextField, TextTemplate
from resources.vector_store.store import TEXT_FIELD


@dataclass(frozen=True)
class SearchHit:
    """One answer.

    Attributes:
        id: `_id` of the document that holds the vector.
        score: MongoDB's vectorSearchScore, 0 to 1.
        text: What was embedded; of a document that holds its vector in place, what would be now.
        fields: The fields the pipeline carries or filters by.
        lineage: Which model, space, batch and run made the vector.
    """

    id: Any
    score: float
    text: str | None
    fields: Mapping[str, Any]
    lineage: Mapping[str, Any]


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found.

    Attributes:
        query: As asked.
        hits: Best first.
        space: The embedding space of query and vectors.
        engine: `mongodb` or `local`.
        index: `database.collection:path:index`.
        seconds: From the question to the answer, embedding the query included.
        scored_by: What a score stands for.
        stage: The `$vectorSearch` stage that was sent, or what the local engine did in its place.
        why_empty: The cause of an answer without hits, where there is one to name.
    """

    query: str
    hits: list[SearchHit]
    space: EmbeddingSpace
    engine: str
    index: str
    seconds: float
    scored_by: str
    stage: Mapping[str, Any]
    why_empty: str = ""


def search(
    pipeline: EmbeddingPipeline | str,
    query: str,
    *,
    limit: int = 5,
    filter: Mapping[str, Any] | None = None,  # noqa: A002  (MongoDB's own word)
    exact: bool = False,
    num_candidates: int | None = None,
    overrides: Sequence[str | Path] = (),
) -> SearchAnswer:
    """Embed the query as a query in the index's space, and find the nearest documents.

    Args:
        pipeline: Itself or its name.
        query: A text.
        limit: At most this many hits.
        filter: MQL over the index's filter fields.
        exact: Compare with every vector.
        num_candidates: How many candidates an approximate search considers.
        overrides: YAML run configs merged on top of the pipeline's own.

    Raises:
        QueryRefused: The answer would be wrong: another space, an undeclared filter field, …
        EmbeddingsError: No index yet, no server, no key.
    """
    with open_pipeline(pipeline, overrides) as opened:
        return search_opened(opened, query, Query(limit, filter, exact, num_candidates))


def search_opened(opened: Opened, text: str, query: Query) -> SearchAnswer:
    """Like `search`, over resources that stay open between queries.

    Args:
        opened: The pipeline.
        text: To be embedded as a query.
        query: How to search.
    """
    if not text.strip():
        raise QueryRefused("the query is empty: say what to look for")
    start = time.monotonic()
    declared, store, registry = opened.search_index, opened.store, opened.registry
    query = dataclasses.replace(query, filter=store.placed(query.filter))
    key = opened.index_key
    entry = registry.indexes.get(key)
    if entry is None:
        raise QueryRefused(
            f"pipeline {opened.name} has no index {key} yet: materialize it first, e.g. "
            f"`embeddings run {opened.name}`"
        )
    space = _index_space(opened, entry.space_id)
    engine = opened.engine
    if store.format.unscaled:
        raise QueryRefused(
            f"{store.key} holds no vector stored as {store.format} yet: materialize "
            f"{opened.name} first, e.g. `embeddings run {opened.name}`"
        )
    with opened.embedder.open() as embedder:
        vectors = embedder.embed([text], input_type="query").vectors
    if vectors.dtype == "float32" and not vectors.any():
        raise QueryRefused(f"{text!r} has no token that {space.model} knows: ask in other words")
    # Like the stored vectors: of their dtype, and by the same scale.
    stored_as = store.format
    main, fine, _ = stored_as.fields(vectors)
    # What a coarse index finds is a choice to rank anew: as many as it considers.
    sent = query.widened() if stored_as.rescore else query
    served = engine.serve()
    hits = served.nearest(main[0], sent)
    scored_by = meaning(store.element, declared.similarity)
    if fine is not None and stored_as.rescore:
        finer = store.fine_vectors([hit.id for hit in hits])
        hits = rescored(hits, fine[0], finer, stored_as.rescore, query.limit)
        scored_by = f"{meaning(stored_as.rescore, 'cosine')}, of {store.rescore_path}"
    names = list(dict.fromkeys([*opened.source.carry, *declared.filter_fields]))
    shape = _text_shape(opened)
    places = {name: store.place(name) for name in names}
    documents = store.documents([hit.id for hit in hits], [*places.values(), *shape.fields])
    found = []
    for hit in hits:
        document = documents.get(key_of(hit.id))
        if document is not None:  # else removed since the index was built
            found.append(
                SearchHit(
                    hit.id,
                    hit.score,
                    _text(shape, document),
                    _fields(places, document),
                    store.lineage(document) or {},
                )
            )
    return SearchAnswer(
        text,
        found,
        space,
        engine.name,
        key,
        time.monotonic() - start,
        scored_by,
        served.explain(main[0], text, sent),
        "" if found else served.why_empty(query),
    )


def _index_space(opened: Opened, space_id: str) -> EmbeddingSpace:
    """The index's space, which must be the one the embedder puts queries in."""
    mine = opened.space
    if mine.id == space_id:
        return mine
    theirs = opened.registry.spaces.get(space_id)
    why = mine.difference(theirs) if theirs else "its meaning is not in the registry"
    raise QueryRefused(
        f"the index of {opened.name} holds vectors of the space {space_id}, but the "
        f"embedder would put the query into {mine.id} ({why}): run the pipeline with this "
        "embedder first, or search with the one that made the index"
    )


def _text_shape(opened: Opened) -> TextField | TextTemplate:
    """Where a stored document has its text."""
    if opened.vector_store.in_place:
        return opened.source.text_shape()
    return TextField(TEXT_FIELD)


def _text(shape: TextField | TextTemplate, document: Mapping[str, Any]) -> str | None:
    try:
        return shape.render(document)
    except BadRecord:  # it has changed since it was embedded
        return None


def _fields(places: Mapping[str, str], document: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: lookup(document, at) for name, at in places.items()}
    return {name: value for name, value in values.items() if value is not MISSING}
