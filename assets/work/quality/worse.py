"""Queries that got worse: what they found before, and what they find now."""

from collections.abc import Iterable, Sequence
from typing import Any

from assets.work.opened import Opened
from resources.batch_store.evaluations import Found
from resources.core.errors import BatchStoreError
from resources.core.keys import key, shown
from resources.evaluation.judged import JudgedQuery
from resources.registry.evaluations import Evaluation

MOST = 10
HITS = 3
"""That are shown of each."""
TEXT = 200
"""Characters of a query, and of the beginning of a document's text."""
_SAME = 1e-9


def worse(
    o: Opened, evaluation: str, baseline: Evaluation, queries: Iterable[JudgedQuery], measure: str
) -> list[dict[str, Any]]:
    """The queries that lost most of a measure since the baseline, the worst first.

    Returns:
        `{query, text, before, now, found before, finds now}`; the latter two are hits as
        `{id, text, relevant}`. Empty where what was found before is not kept any more.
    """
    rankings = o.batches.rankings
    try:
        then = rankings.measures(o.name, baseline.id, measure)
        now = rankings.measures(o.name, evaluation, measure)
    except BatchStoreError:
        return []
    lost = sorted(
        (now[query] - then[query], query)
        for query in now
        if query in then and now[query] < then[query] - _SAME
    )
    names = [query for _, query in lost[:MOST]]
    if not names:
        return []
    judged = {query.id: query for query in queries if query.id in names}
    names = [name for name in names if name in judged]  # the set may have changed just now
    before = _of(rankings.read(o.name, baseline.id), names)
    after = _of(rankings.read(o.name, evaluation), names)
    texts = _texts(o, [at for found in (before, after) for each in found.values() for at in each])
    return [
        {
            "query": name,
            "text": judged[name].text[:TEXT],
            "before": then[name],
            "now": now[name],
            "found before": _shown(before.get(name, ()), judged[name], texts),
            "finds now": _shown(after.get(name, ()), judged[name], texts),
        }
        for name in names
    ]


def _of(found: Iterable[Found], names: Sequence[str]) -> dict[str, list[Any]]:
    return {each.query: list(each.ids[:HITS]) for each in found if each.query in names}


def _texts(o: Opened, ids: Sequence[Any]) -> dict[str, str]:
    """The beginning of each document's text, by key, where it is still there."""
    distinct = list({key(each): each for each in ids}.values())
    documents = o.store.sources(distinct, list(o.store.text_shape.fields), o.space.id)
    texts = {name: o.store.text(document) for name, document in documents.items()}
    return {name: text[:TEXT] for name, text in texts.items() if text}


def _shown(ids: Sequence[Any], query: JudgedQuery, texts: dict[str, str]) -> list[dict[str, Any]]:
    right = query.grades
    return [
        {"id": shown(each), "text": texts.get(key(each), ""), "relevant": key(each) in right}
        for each in ids
    ]
