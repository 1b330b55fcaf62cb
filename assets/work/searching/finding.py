"""How one question is answered: what the index finds, made finer, ordered anew, chosen from."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assets.work.searching.ranking import Best, diverse, grouped
from assets.work.searching.request import Request
from assets.work.searching.serving import Serving
from resources.core.keys import key
from resources.rerankers.base import Candidate, Reranker
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
class Reranking:
    """How found texts are read again.

    Attributes:
        candidates: How many the first search hands over.
    """

    reranker: Reranker
    candidates: int


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
    def of(
        cls, serving: Serving, asked: Asked, request: Request, reranking: Reranking | None
    ) -> "Finding":
        """Ask the index, and choose from what it finds."""
        return _Search(serving, asked, request, reranking).finding()

    def stage(self) -> Mapping[str, Any]:
        return self.serving.index.explain(self.main, self.asked.text, self.query)

    def why_empty(self) -> str:
        return self.serving.index.why_empty(self.query)


@dataclass
class _Search:
    serving: Serving
    asked: Asked
    request: Request
    reranking: Reranking | None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Like the stored vectors: of their dtype, and by the same scale.
        self.main: np.ndarray | None = None
        self.fine: np.ndarray | None = None
        if self.asked.vector is not None:
            main, fine, _ = self.serving.store.format.fields(self.asked.vector[None])
            self.main, self.fine = main[0], None if fine is None else fine[0]
        if self.reranking is not None and not self.asked.text:
            self.reranking = None
            self.notes.append("a vector has no words to rerank by: the first order stands")

    def finding(self) -> Finding:
        request, scored_by = self.request, self._scored_by()
        choice = CHOICE * request.limit if request.diversity else request.limit
        best, query = self._found(max(choice, self.reranking.candidates if self.reranking else 0))
        if self.reranking:
            best, model = self._reranked(best, self.reranking)
            scored_by = model or scored_by
        if request.min_score is not None:
            best = [each for each in best if each.hit.score >= request.min_score]
        if request.diversity:
            ids = [each.hit.id for each in best]
            vectors = self.serving.store.indexed_vectors(ids, self.serving.space.id)
            best = diverse(best, vectors, request.diversity, request.limit)
        return Finding(
            self.serving,
            self.asked,
            query,
            best[: request.limit],
            scored_by,
            tuple(self.notes),
            self.main,
        )

    def _found(self, wanted: int) -> tuple[list[Best], Query]:
        """So many, where there are: of so many source documents if they are grouped."""
        most = sys.maxsize if self.request.exact else MAX_CANDIDATES
        if not self.request.group_by_source or self.serving.one_chunk_each:
            query = _for(self.request.query, min(wanted, most))
            return [Best(hit) for hit in self._hits(query)], query
        count = GROWTH * wanted
        if self.request.num_candidates:  # who names a number means it, as long as it suffices
            count = min(count, max(wanted, self.request.num_candidates))
        while True:
            query = _for(self.request.query, min(count, most))
            hits = self._hits(query)
            best = self._grouped(hits)
            # Past the floor of a score that stands there is nothing to be had.
            floor = None if self.reranking else self.request.min_score
            below = floor is not None and bool(hits) and hits[-1].score < floor
            if len(best) >= wanted or len(hits) < query.limit or count >= most or below:
                return best, query
            count *= GROWTH

    def _reranked(self, best: Sequence[Best], by: Reranking) -> tuple[list[Best], str]:
        """The first of them in the order of a model that reads them, and what its scores are."""
        best = self._with_documents(best[: by.candidates])
        text = self.serving.store.text
        candidates = [Candidate(each.hit.id, text(each.hit.document or {})) for each in best]
        if not candidates:
            return [], ""
        ranking = by.reranker.scores(self.asked.text, candidates)
        self.notes += ranking.notes
        known = [score for score in ranking.scores if score is not None]
        if ranking.flat or not known:
            return best, ""
        ordered = []
        for at in ranking.order():
            score = ranking.scores[at]
            hit = dataclasses.replace(
                best[at].hit,
                score=min(known) if score is None else score,
                ranks={**best[at].hit.ranks, "found": at + 1},
            )
            ordered.append(dataclasses.replace(best[at], hit=hit))
        return ordered, f"how well {by.reranker.facts} finds the text to fit"

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
        return fusion.by_rank(lists, query)

    def _rescored(self, hits: Sequence[Hit], limit: int) -> list[Hit]:
        store = self.serving.store
        assert self.fine is not None
        assert store.format.rescore
        finer = store.fine_vectors([hit.id for hit in hits], self.serving.space.id)
        coarse = [hit.id for hit in hits if key(hit.id) not in finer]
        # What is gone has neither; a run that stores them otherwise leaves the one.
        if coarse and store.indexed_vectors(coarse, self.serving.space.id):
            self.notes.append("the finer vectors are being replaced: the first order stands")
            return list(hits[:limit])
        return rescored(hits, self.fine, finer, store.format.rescore, limit)

    def _grouped(self, hits: Sequence[Hit]) -> list[Best]:
        present = self._with_documents([Best(hit) for hit in hits])
        sources = {
            key(best.hit.id): key((best.hit.document or {}).get(SOURCE_FIELD, best.hit.id))
            for best in present
        }
        return grouped([best.hit for best in present], sources)

    def _with_documents(self, best: Sequence[Best]) -> list[Best]:
        """Those that are still there, with their documents."""
        documents = self.serving.documents([each.hit for each in best])
        return [
            dataclasses.replace(
                each, hit=dataclasses.replace(each.hit, document=documents[key(each.hit.id)])
            )
            for each in best
            if key(each.hit.id) in documents
        ]

    def _scored_by(self) -> str:
        store, query = self.serving.store, self.request.query
        if query.mode == "text":
            return "BM25 of the words"
        finer = store.format.rescore if self.fine is not None else None
        if query.mode == "hybrid":
            # What is ranked anew is fused here: see `_hits`.
            index = self.serving.index
            return fusion.meaning(query) if finer else index.fused_by(self.asked.text, query)
        if finer:
            return f"{meaning(finer, 'cosine')}, of {store.rescore_path}"
        return meaning(store.element, self.serving.opened.search_index.similarity)


def _for(query: Query, limit: int) -> Query:
    """The same for another limit: as many candidates as before, at least the limit."""
    if query.exact or limit == query.limit:
        return dataclasses.replace(query, limit=limit)
    candidates = min(max(query.candidates, limit), MAX_CANDIDATES)
    return dataclasses.replace(query, limit=limit, num_candidates=candidates)
