"""How one question is answered: what the index finds, made finer, ordered anew, chosen from."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.operations.search.ranking import Best, diverse, grouped
from pipelines.operations.search.request import Request
from pipelines.operations.search.serving import Serving
from resources.core.keys import key
from resources.search_index import fusion
from resources.search_index.query import MAX_CANDIDATES, Hit, Query
from resources.search_index.rescoring import rescored
from resources.search_index.scores import meaning
from resources.vector_store.store import SOURCE_FIELD

GROWTH = 4
"""So many times more hits are looked at, until they are of enough source documents."""
CHOICE = 4
"""Of so many times more hits than are wanted the diverse ones are chosen."""


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        text: Empty where a vector was given.
        vector: As the provider returns it; None where only words count.
    """

    text: str
    vector: np.ndarray | None

    @property
    def shown(self) -> str:
        if self.text or self.vector is None:
            return self.text
        start = ", ".join(f"{value:g}" for value in self.vector[:3])
        return f"<vector of {len(self.vector)}: {start}, …>"


@dataclass(frozen=True)
class Finding:
    """What was found of one question."""

    serving: Serving
    asked: Asked
    query: Query
    best: Sequence[Best]
    scored_by: str
    notes: Sequence[str] = ()
    main: np.ndarray | None = None

    @classmethod
    def of(cls, serving: Serving, asked: Asked, request: Request) -> "Finding":
        """Ask the index, and choose from what it finds."""
        return _Search(serving, asked, request).finding()

    def stage(self) -> Mapping[str, Any]:
        return self.serving.index.explain(self.main, self.asked.text, self.query)

    def why_empty(self) -> str:
        return self.serving.index.why_empty(self.query)


@dataclass
class _Search:
    serving: Serving
    asked: Asked
    request: Request
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Like the stored vectors: of their dtype, and by the same scale.
        self.main: np.ndarray | None = None
        self.fine: np.ndarray | None = None
        if self.asked.vector is not None:
            main, fine, _ = self.serving.store.format.fields(self.asked.vector[None])
            self.main, self.fine = main[0], None if fine is None else fine[0]

    def finding(self) -> Finding:
        request = self.request
        wanted = request.limit
        if request.diversity:
            wanted = CHOICE * request.limit
        chosen, query = self._chosen(wanted)
        if request.diversity:
            chosen = diverse(chosen, self._vectors(chosen), request.diversity, request.limit)
        return Finding(
            self.serving,
            self.asked,
            query,
            chosen[: request.limit],
            self._scored_by(),
            tuple(self.notes),
            self.main,
        )

    def _chosen(self, wanted: int) -> tuple[list[Best], Query]:
        """At least so many, where there are: of so many source documents if they are grouped."""
        together = self.request.group_by_source and not self.serving.one_chunk_each
        count = GROWTH * wanted if together else wanted
        most = MAX_CANDIDATES if not self.request.exact else max(count, 2**31)
        while True:
            query = _for(self.request.query, min(count, most))
            hits = self._hits(query)
            floor = self.request.min_score
            kept = [hit for hit in hits if floor is None or hit.score >= floor]
            best = self._grouped(kept) if together else [Best(hit) for hit in kept]
            exhausted = len(hits) < query.limit or len(kept) < len(hits) or count >= most
            if not together or len(best) >= wanted or exhausted:
                return best, query
            count *= GROWTH

    def _hits(self, query: Query) -> list[Hit]:
        serving, index = self.serving, self.serving.index
        stored_as = serving.store.format
        finer = self.fine is not None and stored_as.rescore
        fields = serving.fetched
        if query.mode == "text":
            return index.matching(self.asked.text, query, fields)
        assert self.main is not None
        if not finer:
            if query.mode == "hybrid":
                return index.fused(self.asked.text, self.main, query, fields)
            return index.nearest(self.main, query, fields)
        # What a coarse index finds is a choice to rank anew: as many as it considers.
        wide = query.widened()
        hits = index.nearest(self.main, wide, fields)
        hits = self._rescored(hits, wide.limit if query.mode == "hybrid" else query.limit)
        if query.mode == "vector":
            return hits
        lists = {"vector": hits, "text": index.matching(self.asked.text, wide, fields)}
        weights = dict(zip(lists, query.weights, strict=True))
        return fusion.fused(lists, weights, rank_constant=query.rank_constant, limit=query.limit)

    def _rescored(self, hits: Sequence[Hit], limit: int) -> list[Hit]:
        store = self.serving.store
        assert self.fine is not None
        assert store.format.rescore
        finer = store.fine_vectors([hit.id for hit in hits])
        return rescored(hits, self.fine, finer, store.format.rescore, limit)

    def _grouped(self, hits: Sequence[Hit]) -> list[Best]:
        missing = [hit.id for hit in hits if hit.document is None]
        store = self.serving.store
        documents = store.documents(missing, self.serving.fetched) if missing else {}
        present, sources = [], {}
        for hit in hits:
            document = hit.document or documents.get(key(hit.id))
            if document is not None:
                present.append(dataclasses.replace(hit, document=document))
                sources[key(hit.id)] = key(document.get(SOURCE_FIELD, hit.id))
        return grouped(present, sources)

    def _vectors(self, chosen: Sequence[Best]) -> dict[str, np.ndarray]:
        return self.serving.store.indexed_vectors([best.hit.id for best in chosen])

    def _scored_by(self) -> str:
        store, query = self.serving.store, self.request.query
        if query.mode == "text":
            return "BM25 of the words"
        if query.mode == "hybrid":
            return f"sum of weight / ({query.rank_constant} + rank), of both lists"
        if self.fine is not None and store.format.rescore:
            return f"{meaning(store.format.rescore, 'cosine')}, of {store.rescore_path}"
        return meaning(store.element, self.serving.opened.search_index.similarity)


def _for(query: Query, limit: int) -> Query:
    """The same for another limit: as many candidates as before, at least the limit."""
    if query.exact or limit == query.limit:
        return dataclasses.replace(query, limit=limit)
    candidates = min(max(query.candidates, limit), MAX_CANDIDATES)
    return dataclasses.replace(query, limit=limit, num_candidates=candidates)
