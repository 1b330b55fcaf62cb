"""What would keep a comparison from its end, found before anything is paid for."""

from collections.abc import Mapping, Sequence

from assets.work.evaluating.candidates import Candidate
from assets.work.evaluating.sample import Sample
from assets.work.evaluating.variants import Variant
from resources.batch_store.evaluations import WINDOW
from resources.core.errors import EmbeddingsError, EvaluationError, QueryRefused
from resources.rerankers import base
from resources.rerankers.remote import RemoteReranker
from resources.search_index.filters.evaluation import validate


def check_models(
    candidates: Sequence[Candidate], variants: Mapping[int, Sequence[Variant]]
) -> None:
    """Open what embeds and what reranks: a key may be missing, or a model.

    Raises:
        EmbeddingsError: Of the candidate's, named.
    """
    for number, candidate in enumerate(candidates):
        try:
            if any(each.mode != "text" for each in variants[number]):
                with candidate.o.embedder.open():
                    pass
            if any(each.reranked for each in variants[number]):
                _ = candidate.reranking
        except EmbeddingsError as error:
            raise _named(candidate, error) from error


def check_filters(candidates: Sequence[Candidate], sample: Sample) -> None:
    """See that every candidate can be asked every query.

    Raises:
        EvaluationError: One filters by a field that a candidate's index does not have.
    """
    fields = {tuple(each.o.search_index.filter_fields): each for each in reversed(candidates)}
    for window in sample.queries(WINDOW):
        for query in window:
            if query.filter is None:
                continue
            for names, candidate in fields.items():
                try:
                    validate(query.filter, names)
                except QueryRefused as error:
                    of = f" of candidate {candidate.name}" if candidate.files else ""
                    raise EvaluationError(
                        f"the judged query {query.id} cannot be asked{of}: {error}"
                    ) from error


def try_rerankers(
    candidates: Sequence[Candidate], variants: Mapping[int, Sequence[Variant]]
) -> None:
    """Have each that is far away read one word, which costs next to nothing: it may not answer.

    Raises:
        EmbeddingsError: It does not.
    """
    for number, candidate in enumerate(candidates):
        if not any(each.reranked for each in variants[number]):
            continue
        reranker = candidate.reranking.reranker
        if isinstance(reranker, RemoteReranker):
            try:
                reranker.scores("ready", [base.Candidate(0, "ready")])
            except EmbeddingsError as error:
                raise _named(candidate, error) from error


def _named(candidate: Candidate, error: EmbeddingsError) -> EmbeddingsError:
    return type(error)(f"candidate {candidate.name}: {error}") if candidate.files else error
