"""JSON files that are one array, or objects over several lines: read as what they are."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import resources.sources.json_files
import resources.sources.json_values
from resources.sources.records import SourceDocument
from tests.resources.sources.reading import read, source, write

INNER = st.recursive(
    st.none() | st.integers(0, 9) | st.text(st.sampled_from('a"\\{[,é\n'), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["_id", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
RECORDS = st.lists(INNER, min_size=2, max_size=6).map(
    lambda values: [{"_id": n, "text": f"t{n}", "v": value} for n, value in enumerate(values)]
)
FORMS = {
    "one line": json.dumps,
    "lines": lambda records: "[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n",
    "lines from the first": lambda records: "[" + ",\n".join(map(json.dumps, records)) + "]",
    "indented": lambda records: json.dumps(records, indent=2),
    "not indented": lambda records: json.dumps(records, indent=0),
    "CRLF": lambda records: json.dumps(records, indent=2).replace("\n", "\r\n"),
    "objects": lambda records: "\n".join(json.dumps(one, indent=2) for one in records),
    "objects in a row": lambda records: "".join(json.dumps(one, indent=2) for one in records),
}


def is_json(content: str) -> bool:
    """Values, whether one or several, to the end."""
    while content := content.lstrip(" \t\r\n"):
        try:
            content = content[json.JSONDecoder().raw_decode(content)[1] :]
        except json.JSONDecodeError:
            return False
    return True


def read_json(path: Path, content: str, read_ahead: int, monkeypatch: Any) -> Any:
    monkeypatch.setattr(resources.sources.json_files, "READ_AHEAD", read_ahead)
    content_bytes = content.encode("utf-8", "surrogateescape")
    return read(source({"jsonl": {"path": write(path, content_bytes)}}, carry=["v"]))


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_write_it(tmp_path: Path, monkeypatch: Any, form: str) -> None:
    @settings(deadline=None, max_examples=60)
    @given(RECORDS, st.sampled_from([1, 7, 1000]), st.sampled_from(["", "\ufeff", "\n \n"]))
    def check(records: Any, read_ahead: int, before: str) -> None:
        content = before + FORMS[form](records)
        documents, rejections = read_json(tmp_path / "a.json", content, read_ahead, monkeypatch)
        assert documents == [
            SourceDocument(one["_id"], one["text"], {"v": one["v"]}) for one in records
        ]
        assert not rejections

    check()


@pytest.mark.parametrize("form", FORMS)
def test_damage_gives_no_piece_and_is_named(tmp_path: Path, monkeypatch: Any, form: str) -> None:
    """One sign more, less or other: what is found are records, all lines else are named."""

    @settings(deadline=None, max_examples=100)
    @given(
        RECORDS,
        st.integers(0, 400),
        st.sampled_from(['"', "{", "}", "[", "]", ",", ":", "x", "\udcff", "\0", ""]),
        st.booleans(),
    )
    def check(records: Any, at: int, sign: str, instead: bool) -> None:
        content = FORMS[form](records)
        at %= len(content)
        changed = content[:at] + sign + content[at + (instead or not sign) :]
        assume(not is_json(changed))  # other records, but no damage
        documents, rejections = read_json(tmp_path / "a.json", changed, 50, monkeypatch)
        good = {one["_id"]: one for one in records}
        for document in documents:
            assert document.text == good[document.id]["text"]
            assert document.fields == {"v": good[document.id]["v"]}
        assert rejections or len(documents) == len(records)

    check()


def test_a_broken_element_costs_itself(tmp_path: Path) -> None:
    records = [json.dumps({"_id": n, "text": f"t{n}"}) for n in range(6)]
    for broken in (
        '{"_id": 3, "text": }', '{"_id": 3, "text": "x}', '{"_id": 3, "text": "x", "a": [1}',
        '{"_id": 3, "text": "x"', '{"_id": 3, "text": "x"}}', '{"_id": 3 "text": "x"}', "x", "5",
        '{"_id": 3, "text": "x", "a": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"_id": ' + "1" * 5000 + "}",
    ):  # fmt: skip
        for begin, end in (("[\n", "\n]\n"), ("[\n  ", "\n]")):
            join = ",\n" + " " * (len(begin) - 2)
            content = begin + join.join([*records[:3], broken, *records[4:]]) + end
            path = write(tmp_path / "a.json", content)
            documents, rejections = read(source({"jsonl": {"path": path}}))
            assert [one.id for one in documents] == [0, 1, 2, 4, 5], broken
            assert [one.where for one in rejections] == [f"{path}:5"]


def test_where_no_line_begins_an_element_the_rest_is_named(tmp_path: Path) -> None:
    records = [{"_id": n, "text": f"t{n}"} for n in range(6)]
    content = json.dumps(records).replace('"t3"', "")
    path = write(tmp_path / "a.json", content)
    documents, (rejection,) = read(source({"jsonl": {"path": path}}))
    assert [one.id for one in documents] == [0, 1, 2]
    assert "the rest of the file, from line 1 on, is left out" in rejection.reason


def test_an_array_is_streamed(tmp_path: Path) -> None:
    record = json.dumps({"_id": 1, "text": "word " * 200})
    content = "[" + ", ".join([record] * 30_000) + "]"
    resource = source({"jsonl": {"path": write(tmp_path / "a.json", "[" + record + "]")}})
    read(resource)
    path = write(tmp_path / "a.json", content)
    for text in (content, "\n".join([json.dumps(json.loads(record), indent=1)] * 30_000)):
        write(Path(path), text)
        tracemalloc.start()
        count = sum(isinstance(one, SourceDocument) for one in resource.read(None))
        peak = tracemalloc.get_traced_memory()[1] / 1024**2
        tracemalloc.stop()
        assert count == 30_000
        assert peak < 110 if text is content else peak < 15
