"""What is exported is the same set when it is read again."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from resources.core.errors import EvaluationError
from resources.core.keys import key
from resources.evaluation.export import FORMATS, Format, export
from resources.evaluation.judged import JudgedQuery, Judgement, QuerySet, digest
from resources.evaluation.queries.files import CsvQueries, JsonlQueries
from resources.evaluation.queries.trec import TrecQueries
from tests.resources.evaluation.strategies import SETS

NOWHERE: Any = None


def opened(paths: Sequence[Path]) -> QuerySet:
    """What an export has written."""
    first, *others = map(str, paths)
    if others:
        return TrecQueries(qrels=first, topics=others[0]).open(NOWHERE)
    kind = CsvQueries if first.endswith(".csv") else JsonlQueries
    return kind(path=first).open(NOWHERE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.mark.parametrize("to", FORMATS)
@settings(max_examples=30)
@given(queries=SETS)
def test_it_is_the_same_set_when_it_is_read(folder: Path, to: Format, queries: list[JudgedQuery]):
    if to == "trec" and not any(query.judgements for query in queries):
        queries[0] = JudgedQuery(queries[0].id, queries[0].text, [Judgement("d")])
    paths, count = export(queries, folder / f"set.{to}", to)
    again = list(opened(paths))
    assert count == len(again) == len(queries)
    assert digest(again) == digest(queries)
    for query, found in zip(queries, again, strict=True):
        assert found.text == query.text
        assert found.segments == query.segments
        assert {key(each.id) for each in found.judgements} == {
            key(each.id) for each in query.judgements
        }


def test_what_a_format_cannot_hold_is_refused_and_the_file_stays(tmp_path: Path):
    path = tmp_path / "set.csv"
    path.write_text("before", "utf-8")
    with pytest.raises(EvaluationError, match=r"query 'q' holds the character NUL.*--format jsonl"):
        export([JudgedQuery("q", "a\0b")], path, "csv")
    assert path.read_text("utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_export_that_is_interrupted_leaves_what_was_there(tmp_path: Path):
    def interrupted() -> Iterator[JudgedQuery]:
        yield JudgedQuery("q", "what?")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(interrupted(), tmp_path / "set", "trec")
    assert not list(tmp_path.iterdir())
