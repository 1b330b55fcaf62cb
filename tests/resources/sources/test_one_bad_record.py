"""One bad record never costs another: every origin that is not tested so beside its format."""

from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.resources.sources.reading import read, source, write

BAD_VALUES: list[Any] = [None, 5, "", " \n", ["a"], {"a": 1}, True, "lone \ud800"]
BAD_LINES = [
    b"{", b"5", b"[1]", b'{"_id": 1}', b'{"_id": "\xff", "text": "a"}', b"\xff\xfe", b"null",
    b'{"_id": "bad", "text": ""}', b'{"_id": [1], "text": "a"}', b"\0", b"[" * 5000,
    b'{"_id": 1e999999999, "text": null}', b'{"text": "a"}', b'"' + b"x" * 300,
]  # fmt: skip
COUNTS = st.integers(2, 12)


@settings(deadline=None, max_examples=80)
@given(COUNTS, st.data(), st.sampled_from(BAD_LINES))
def test_lines(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject, bad: bytes
) -> None:
    # Of two lines the first tells whether there is a record in each of them.
    at = data.draw(st.integers(1, count))
    good = [b'{"_id": %d, "text": "a"}' % number for number in range(count)]
    content = b"\n".join([*good[:at], bad, *good[at:]])
    path = write(tmp_path_factory.mktemp("lines") / "a.jsonl", content)
    documents, rejections = read(source({"jsonl": {"path": path}}))
    assert [one.id for one in documents] == list(range(count))
    assert [one.where for one in rejections] == [f"{path}:{at + 1}"]


@given(COUNTS, st.data(), st.sampled_from(BAD_VALUES))
def test_texts(count: int, data: st.DataObject, bad: Any) -> None:
    at = data.draw(st.integers(0, count))
    good: list[Any] = [{"_id": number, "text": "a"} for number in range(count)]
    texts = [*good[:at], {"_id": "bad", "text": bad}, *good[at:]]
    documents, rejections = read(source({"texts": {"documents": texts}}))
    assert [one.id for one in documents] == list(range(count))
    assert [(one.id, one.where) for one in rejections] == [("bad", f"documents[{at}]")]


@settings(deadline=None, max_examples=40)
@given(COUNTS, st.data(), st.sampled_from([b"", b" \n", b"caf\xe9", b"\xff\xfe\0"]))
def test_files_of_a_folder(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject, bad: bytes
) -> None:
    at = data.draw(st.integers(0, count - 1))
    folder: Path = tmp_path_factory.mktemp("folder")
    for number in range(count):
        write(folder / f"{number:02}.md", bad if number == at else b"good")
    documents, rejections = read(source({"folder": {"path": str(folder)}}))
    assert [one.id for one in documents] == [f"{n:02}.md" for n in range(count) if n != at]
    assert [one.id for one in rejections] == [f"{at:02}.md"]


def test_documents_of_a_collection(mongod_uri: str) -> None:
    wrong = RawBSONDocument(
        bson.encode({"_id": "bad", "text": "caf?"}).replace(b"caf?", b"caf\xe9")
    )
    with pymongo.MongoClient(mongod_uri) as client:
        database = client["test_one_bad_record"]
        raw = database.get_collection(
            "c", codec_options=CodecOptions(document_class=RawBSONDocument)
        )

        @settings(deadline=None, max_examples=40)
        @given(COUNTS, st.data(), st.sampled_from([*BAD_VALUES[:-1], wrong]))
        def check(count: int, data: st.DataObject, bad: Any) -> None:
            at = data.draw(st.integers(0, count))
            far = DatetimeMS(2**62)
            good: list[Any] = [{"_id": n, "text": "a", "at": far} for n in range(count)]
            document = bad if bad is wrong else {"_id": "bad", "text": bad}
            raw.delete_many({})
            for one in [*good[:at], document, *good[at:]]:
                raw.insert_one(
                    one if isinstance(one, RawBSONDocument) else RawBSONDocument(bson.encode(one))
                )
            resource = source(
                {"collection": {"database": database.name, "collection": "c"}}, carry=["at"]
            )
            documents, rejections = read(resource, client)
            assert [one.id for one in documents] == list(range(count))
            assert all(one.fields == {"at": far} for one in documents)
            assert [one.id for one in rejections] == ["bad"]

        check()
        client.drop_database(database.name)
