"""Rankings and judgements as files of TREC's, which every tool of the field reads."""

from collections.abc import Iterable, Iterator

from resources.evaluation.judged import JudgedQuery
from resources.evaluation.rankings import Ranking
from resources.evaluation.trec import token


def run_lines(rankings: Iterable[Ranking], tag: str) -> Iterator[str]:
    """`query Q0 document rank score tag` of every place, ids as `trec.token` has them.

    The score goes down by one from place to place: who sorts anew, as trec_eval does, finds the
    same order, which rounded scores and ties would not give.

    Args:
        rankings: Of the queries.
        tag: One word that names the run.
    """
    for ranking in rankings:
        query = token(ranking.query, bare_is_text=True)
        for at, document in enumerate(ranking.ids):
            yield f"{query} Q0 {token(document)} {at + 1} {-at} {tag}\n"


def judgement_lines(queries: Iterable[JudgedQuery]) -> Iterator[str]:
    """`query 0 document grade` of every judgement, ids likewise."""
    for query in queries:
        name = token(query.id, bare_is_text=True)
        for each in query.judgements:
            yield f"{name} 0 {token(each.id)} {each.grade}\n"
