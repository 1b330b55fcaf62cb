"""Everything known of single vectors."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from assets.work.opened import Opened
from pipelines.framework.catalog import missing_variables, open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.lineage import conditions
from pipelines.operations.lineage.places import Places
from pipelines.operations.lineage.since import Since
from pipelines.operations.lineage.told import InSpace, Share, SourceNow, VectorLineage
from resources.batch_store.store import BatchFacts
from resources.core.errors import EmbeddingsError, QueryRefused
from resources.core.keys import candidates, exactly, key
from resources.registry import ledger
from resources.sources.chunking import PLACE_FIELD
from resources.sources.records import EXCERPT_LENGTH
from resources.sources.rejection import BadRecord
from resources.sources.text import TextField
from resources.vector_store import layout as layouts
from resources.vector_store.store import SOURCE_FIELD, TEXT_FIELD, at_path

DAGSTER_URL = "http://127.0.0.1:3000"
FILES = 16
"""Batches whose facts are kept while vectors are looked at."""


def of_vector(
    pipeline: EmbeddingPipeline | str,
    document_id: str,
    overrides: Sequence[str | Path] = (),
    *,
    dagster_url: str = DAGSTER_URL,
    source: bool = True,
) -> VectorLineage:
    """Lineage of one vector.

    Args:
        pipeline: Itself or its name.
        document_id: As text, or Extended JSON where that is ambiguous: see `keys.candidates`.
        overrides: YAML run configs merged on top of the pipeline's own.
        dagster_url: Of Dagster's UI.
        source: Look whether the text has changed in the source.

    Raises:
        QueryRefused: There is no such document, or several, or it has no vector.
    """
    how = {"dagster_url": dagster_url, "source": source}
    found = of_vectors(pipeline, overrides, document_id=document_id, limit=2, **how)
    if len(found) > 1:
        raise QueryRefused(
            f"{document_id!r} is a record of several chunks: name one of them, such as "
            f"{exactly(found[0].id)}, or ask for all"
        )
    return found[0]


def of_vectors(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    document_id: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002
    limit: int = 20,
    dagster_url: str = DAGSTER_URL,
    source: bool = True,
) -> list[VectorLineage]:
    """Lineage of the vectors of a document's id, of a record's, or of all that a filter finds.

    Of a document with vectors in several spaces that of the serving one is told, and which others
    there are.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        document_id: As of `of_vector`; of a record that is cut into chunks, all of them.
        filter: A MongoDB query over the documents that hold the vectors, as BSON; carried fields
            by their names in the source.
        limit: So many at most.
        dagster_url: As of `of_vector`.
        source: Likewise.

    Raises:
        QueryRefused: The filter is none, or as of `of_vector`.
    """
    missing = [
        name for name, key in missing_variables(pipeline, overrides).items() if key == "embedder"
    ]
    with open_pipeline(pipeline, overrides, without=missing) as opened:
        tracing = _Tracing(opened, dagster_url)
        if document_id is not None:
            documents = tracing.of_id(document_id, limit)
        else:
            documents = tracing.matching(conditions.check(filter or {}), limit)
        return tracing.told(documents, source=source)


class _Tracing:
    def __init__(self, opened: Opened, dagster_url: str) -> None:
        self._o, self._places = opened, Places(opened)
        self._dagster_url = dagster_url.rstrip("/")
        self._meaning = lru_cache(opened.registry.spaces.get)
        self._facts = lru_cache(FILES)(self._read)

    def of_id(self, text: str, limit: int) -> list[Mapping[str, Any]]:
        """The document of an id, or those of a record's chunks."""
        ids, where = candidates(text), self._places.collection.full_name
        documents = self._find({"_id": {"$in": ids}})
        if len(documents) > 1:
            named = " or ".join(exactly(found["_id"]) for found in documents)
            raise QueryRefused(
                f"{text!r} may be several documents of {where}: say which, as {named}"
            )
        if not documents and not self._o.vector_store.in_place:
            found = self._find({"$and": [self._places.mine, {SOURCE_FIELD: {"$in": ids}}]}, limit)
            records = list({key(each[SOURCE_FIELD]): each[SOURCE_FIELD] for each in found}.values())
            if len(records) > 1:
                named = " or ".join(map(exactly, records))
                raise QueryRefused(f"{text!r} may be several records of the source: {named}")
            documents = sorted(found, key=lambda each: at_path(each, f"{PLACE_FIELD}.index") or 0)
        if not documents:
            raise QueryRefused(f"there is no document {text!r} in {where}")
        mine = [each for each in documents if self._own(each)]
        if not mine:
            raise QueryRefused(f"document {text!r} of {where} has no vector of this project")
        return mine

    def matching(self, clause: Mapping[str, Any], limit: int) -> list[Mapping[str, Any]]:
        o = self._o
        layout, carried = o.vector_store.layout, tuple(o.source.carry)
        placed = layouts.placed(layout, clause, carried) if clause else {}
        wanted = {"$and": [self._places.mine, placed]} if placed else self._places.mine
        return self._find(wanted, limit)

    def _find(self, wanted: Mapping[str, Any], limit: int = 0) -> list[Mapping[str, Any]]:
        shown = self._places.without_vectors
        found = self._places.collection.find(wanted, shown).sort("_id", 1).limit(limit)
        return list(found)

    def _own(self, document: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
        """Path and lineage of the pipeline's own vector, of several the serving one."""
        found = list(self._places.vectors(document))
        mine = (each for each in found if each[1].get("pipeline") in (self._o.name, None))
        return next(mine, found[0] if found else None)

    def told(self, documents: Sequence[Mapping[str, Any]], *, source: bool) -> list[VectorLineage]:
        ids = [self._source_id(each) for each in documents]
        since = Since(self._o, ids) if source and ids else None
        return [self._told(each, since) for each in documents]

    def _source_id(self, document: Mapping[str, Any]) -> Any:
        return document.get(SOURCE_FIELD, document["_id"])

    def _told(self, document: Mapping[str, Any], since: Since | None) -> VectorLineage:
        own = self._own(document)
        assert own is not None
        path, lineage = own
        pipeline, space_id = lineage.get("pipeline", self._o.name), lineage["space"]
        entry = self._places.entry(pipeline, path, space_id)
        facts = self._facts(space_id, lineage.get("batch", ""))
        text = self._text(document)
        run = str(lineage.get("run", ""))
        return VectorLineage(
            document["_id"],
            lineage,
            self._meaning(space_id),
            facts.details if facts else None,
            source_id=self._source_id(document),
            path=path,
            state=self._places.state(pipeline, path, space_id),
            excerpt=None if text is None else text[:EXCERPT_LENGTH],
            place=document.get(PLACE_FIELD) if lineage.get("chunker") else None,
            batch_file=self._o.batches.batch_url(space_id, lineage.get("batch", "")),
            run_url=f"{self._dagster_url}/runs/{quote(run, safe='')}" if run else "",
            share=self._share(lineage, facts),
            spaces=[self._in_space(lineage, *each) for each in self._places.vectors(document)],
            source=since.of(self._source_id(document), lineage, entry)
            if since
            else SourceNow("unknown", "it was not asked"),
        )

    def _in_space(self, asked: Mapping[str, Any], path: str, lineage: Mapping[str, Any]) -> InSpace:
        pipeline, space_id = lineage.get("pipeline", ""), lineage["space"]
        return InSpace(
            space_id,
            pipeline,
            path,
            self._places.state(pipeline, path, space_id),
            lineage.get("model", ""),
            lineage.get("run", ""),
            lineage.get("at"),
            lineage.get("text_hash") == asked.get("text_hash"),
        )

    def _text(self, document: Mapping[str, Any]) -> str | None:
        in_place = self._o.vector_store.in_place
        shape = self._o.source.text_shape() if in_place else TextField(TEXT_FIELD)
        try:
            return shape.render(document)
        except BadRecord:  # it has changed since it was embedded
            return None

    def _read(self, space_id: str, batch: str) -> BatchFacts | None:
        try:
            return self._o.batches.facts(space_id, batch)
        except EmbeddingsError:
            return None  # batches may be removed once their vectors are stored

    def _share(self, lineage: Mapping[str, Any], facts: BatchFacts | None) -> Share | None:
        run, batch = lineage.get("run", ""), lineage.get("batch", "")
        spent = self._o.registry.ledger.of_batch(run, batch)
        if spent is None and facts and facts.details.get("run") == run and "spent" in facts.details:
            spent = ledger.entry(facts.details)
        if spent is None:
            return None
        cost, billed = spent.get("cost_usd"), spent.get("tokens")
        if facts is not None:
            rows = [at for at, made in enumerate(facts.runs) if made == run]
            counts = {facts.texts[at]: int(facts.tokens[at]) for at in rows}
            own, total = counts.get(lineage.get("text_hash", ""), -1), sum(counts.values())
            if own >= 0 and total > 0 and min(counts.values()) >= 0:
                part = None if cost is None else cost * own / total
                return Share(own, billed, part, "tokens")
        texts = spent.get("texts") or 0
        return Share(None, billed, cost / texts if cost is not None and texts else None, "texts")
