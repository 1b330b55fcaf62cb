"""Figures are ir_measures' own on the run and the judgements as files of TREC's."""

from pathlib import Path

import bson
import ir_measures
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.core.keys import key
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.evaluation.measures import MEASURES, per_query
from resources.evaluation.rankings import Ranking
from resources.evaluation.runs import judgement_lines, run_lines
from resources.evaluation.trec import token

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
IDS = st.one_of(
    st.sampled_from([0, 1, 2, 5, "5", "a b", "\u2028", '"', "b:x", "Q0", 2.0, 2.5]),
    TEXT,
    st.integers(-5, 5),
    st.binary(min_size=12, max_size=12).map(bson.ObjectId),
)


@st.composite
def answered(draw) -> tuple[list[JudgedQuery], list[Ranking]]:
    """Queries of odd names over few documents, with chunks, ties, grades, and some unanswered."""
    pool = list({key(each): each for each in draw(st.lists(IDS, min_size=1, max_size=12))}.values())
    names = draw(st.lists(TEXT, min_size=1, max_size=6, unique=True))
    queries, rankings = [], []
    for name in names:
        judged = draw(st.lists(st.sampled_from(pool), unique_by=key, max_size=8))
        grades = draw(st.lists(st.integers(-1, 4), min_size=len(judged), max_size=len(judged)))
        pairs = zip(judged, grades, strict=True)
        queries.append(JudgedQuery(name, "?", [Judgement(*pair) for pair in pairs]))
        hits = draw(st.lists(st.tuples(st.sampled_from(pool), st.integers(0, 3)), max_size=20))
        if draw(st.booleans()):
            rankings.append(Ranking.of(name, [(each, score / 3) for each, score in hits]))
    return queries, rankings


@given(case=answered())
@settings(max_examples=60)
def test_figures_are_those_of_ir_measures_on_the_exported_files(tmp_path_factory, case):
    queries, rankings = case
    folder: Path = tmp_path_factory.mktemp("trec")
    run, qrels = folder / "run.txt", folder / "qrels.txt"
    run.write_text("".join(run_lines(rankings, "tag")), "utf-8")
    qrels.write_text("".join(judgement_lines(queries)), "utf-8")
    found = per_query(queries, rankings)
    names = [token(query.id, bare_is_text=True) for query in queries if query.answerable]
    if not names:
        assert all(len(each) == 0 for each in found.values())
        return
    measures = {ir_measures.parse_measure(name): ours for ours, name in MEASURES.items()}
    theirs: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    # A query that nothing answers, yet has judgements of 0, would be a mean's zero to them.
    judged = [each for each in ir_measures.read_trec_qrels(str(qrels)) if each.query_id in names]
    read = ir_measures.read_trec_run(str(run))
    for value in ir_measures.iter_calc(list(measures), judged, read):
        theirs[measures[value.measure]][value.query_id] = value.value
    for name, values in found.items():
        assert dict(zip(names, values, strict=True)) == theirs[name]
