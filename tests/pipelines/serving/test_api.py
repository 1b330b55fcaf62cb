"""What is answered over a real socket."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.serving.question import MAX_LIMIT, MAX_QUERIES, MAX_QUERY
from tests.pipelines.helpers import DOCUMENTS, MOTH
from tests.pipelines.serving.site import DAGSTER, Site
from tests.workshop import Workshop


def test_a_text_finds_its_document_first(site: Site, workshops: list[Workshop]):
    (first, *_) = site.searched(pipeline="films", query=MOTH, limit=3)
    assert (first["id"], first["source_id"], first["text"]) == ("moth", "moth", MOTH)
    assert first["fields"] == {"kind": "nature"}
    assert first["score"] == pytest.approx(1, abs=1e-5)
    stored = workshops[0].stored()["moth"]["embedding_lineage"]
    made = first["lineage"]
    assert (made["run"], made["batch"]) == (stored["run"], stored["batch"])
    assert made["at"]["$date"].startswith(f"{stored['at']:%Y-%m-%dT%H:%M:%S}")
    assert first["run_url"] == f"{DAGSTER}/runs/{stored['run']}"


def test_get_and_post_answer_alike(site: Site):
    question = {
        "pipeline": "films", "limit": 2, "exact": True, "diversity": 0.5, "weights": [1.0, 0.5],
        "filter": {"$or": [{"kind": "kitchen"}, {"kind": {"$in": ["workshop"]}}]},
    }  # fmt: skip
    asked = question | {"filter": json.dumps(question["filter"]), "exact": "true"}
    by_post = site.post(question | {"query": MOTH}).json
    by_get = site.found(**asked, query=MOTH).json
    for reply in (by_post, by_get):
        assert reply["answers"][0].pop("seconds") > 0
        assert {hit["fields"]["kind"] for hit in reply["answers"][0]["hits"]} <= {
            "kitchen",
            "workshop",
        }
        assert len(reply["answers"][0]["hits"]) == 2
    assert by_get == by_post


def test_several_queries_are_answered_in_their_order_and_a_vector_is_one(
    site: Site, workshops: list[Workshop]
):
    texts = [document["text"] for document in DOCUMENTS]
    for reply in (
        site.post({"pipeline": "films", "queries": texts, "limit": 1}),
        site.found(pipeline="films", queries=texts, limit=1),
    ):
        answers = reply.json["answers"]
        assert [answer["query"] for answer in answers] == texts
        assert [answer["hits"][0]["id"] for answer in answers] == [
            document["_id"] for document in DOCUMENTS
        ]
    vector = workshops[0].stored()["moth"]["embedding"].as_vector().data
    (hit,) = site.searched(pipeline="films", query=list(vector), limit=1)
    assert hit["id"] == "moth"


def test_texts_are_shortened_where_that_is_asked_for(site: Site):
    (hit,) = site.searched(pipeline="films", query=MOTH, limit=1, max_text=6)
    assert hit["text"] == "A moth…"


def test_a_pipeline_says_what_it_can_be_asked_for(site: Site):
    details = site.get("/pipelines/films").json
    assert details["filter_fields"] == ["kind"]
    assert (details["vectors"], details["dimensions"]) == (9, 64)
    assert details["reranker"] == {"name": "", "fault": ""}
    # What it says of a mode is what asking in that mode comes to.
    assert details["modes"] == {"vector": "", "text": "", "hybrid": ""}
    for mode in ("text", "hybrid"):
        (first, *_) = site.searched(pipeline="films", query="porch lamp moth", mode=mode)
        assert first["id"] == "moth"
    why = site.get("/pipelines/others").json["modes"]
    assert why["vector"] == ""
    assert why["text"] == why["hybrid"] != ""
    for mode in ("text", "hybrid"):
        assert why[mode] in site.post({"pipeline": "others", "query": "a", "mode": mode}).error


def test_the_pipelines_are_listed_with_what_is_wrong(site: Site):
    listed = {entry["name"]: entry["fault"] for entry in site.get("/pipelines").json["pipelines"]}
    fault = listed.pop("reviews")
    assert "no module named 'reviews_of'" in fault
    assert "/home" not in fault
    assert listed == {"films": "", "others": "", "empty": ""}


def test_a_broken_pipeline_costs_the_others_nothing(site: Site):
    reply = site.post({"pipeline": "reviews", "query": "a"})
    assert reply.status == 500
    assert "pipeline reviews is broken" in reply.error
    assert site.searched(pipeline="films", query=MOTH)
    assert site.get("/healthz").json == {"status": "ok"}


@pytest.mark.parametrize(
    ("question", "status", "sentence"),
    [
        ({"pipeline": "nobody", "query": "a"}, 404, "there are: empty, films, others, reviews"),
        ({"pipeline": "empty", "query": "a"}, 400, "embeddings run empty"),
        ({"pipeline": "films"}, 400, "give one of query and queries"),
        ({"pipeline": "films", "query": "a", "queries": ["a"]}, 400, "one of query and queries"),
        ({"pipeline": "films", "query": "  "}, 400, "the query is empty"),
        ({"pipeline": "films", "query": 5}, 400, "query: "),
        ({"pipeline": "films", "query": []}, 400, "query: "),
        ({"pipeline": "films", "query": [1, 2]}, 400, "the query has 2 values"),
        ({"pipeline": "films", "query": "a" * (MAX_QUERY + 1)}, 400, "query: "),
        ({"pipeline": "films", "queries": ["a"] * (MAX_QUERIES + 1)}, 400, "queries: "),
        ({"pipeline": "films", "queries": []}, 400, "queries: "),
        ({"pipeline": "films", "query": "a", "limit": MAX_LIMIT + 1}, 400, "limit: "),
        ({"pipeline": "films", "query": "a", "limit": "5"}, 400, "limit: "),
        ({"pipeline": "films", "query": "a", "limit": True}, 400, "limit: "),
        ({"pipeline": "films", "query": "a", "mode": "telepathy"}, 400, "mode: "),
        ({"pipeline": "films", "query": "a", "size": 1}, 400, "no option 'size'; there are "),
        ({"pipeline": "films", "query": "a", "filter": {"colour": 1}}, 400, "'colour'"),
        ({"pipeline": "films", "query": "a", "filter": {"$where": "1"}}, 400, "operator $where"),
        ({"pipeline": "films", "query": "a", "filter": {"$oid": "5" * 24}}, 400, "one value"),
        ({"pipeline": "films", "query": "a", "filter": {"kind": {"$date": {}}}}, 400, "Extended"),
        ({"pipeline": "films", "query": "a", "filter": [1]}, 400, "filter: "),
        ({"pipeline": "films", "query": "a", "exact": True, "num_candidates": 9}, 400, "exact"),
        ({"pipeline": "films", "query": "a", "expand": 21}, 400, "expand: "),
        (["films"], 400, ""),
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b'\xff{"pipeline"', 400, "no JSON"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(
    site: Site, question: object, status: int, sentence: str
):
    reply = site.post(question)
    assert reply.status == status, reply.body
    assert sentence in reply.error
    assert "\n" not in reply.error
    assert "pydantic" not in reply.error


def test_the_same_of_a_get(site: Site):
    assert "given 2 times" in site.found(pipeline=["films", "others"], query="a").error
    assert "limit: " in site.found(pipeline="films", query="a", limit="many").error
    assert "filter is not JSON" in site.found(pipeline="films", query="a", filter="{").error


def test_what_is_not_there(site: Site):
    for method, path, status in (
        ("GET", "/etc/passwd", 404),
        ("GET", "/pipelines/../../etc/passwd", 404),
        ("GET", "/pipelines/nobody", 404),
        ("DELETE", "/search", 405),
        ("PUT", "/", 405),
    ):
        reply = site.ask(method, path)
        assert reply.status == status, path
        assert reply.error
        assert "passwd" not in reply.error


def test_many_threads_get_the_answers_to_their_own_questions(site: Site):
    def first(at: int) -> tuple[object, object]:
        document = DOCUMENTS[at % len(DOCUMENTS)]
        pipeline = ("films", "others")[at % 2]
        return document["_id"], site.searched(pipeline=pipeline, query=document["text"])[0]["id"]

    with ThreadPoolExecutor(16) as pool:
        for wanted, got in pool.map(first, range(96)):
            assert got == wanted


def test_another_space_is_asked_by_its_id(site: Site):
    serving, other = site.spaces("others")
    assert [serving["state"], other["state"]] == ["serving", "ready"]
    assert other["incomplete"] == ""
    begins = other["id"][:12]
    for reply in (
        site.post({"pipeline": "others", "query": MOTH, "space": other["id"]}),
        site.found(pipeline="others", query=MOTH, space=begins),
    ):
        (answer,) = reply.json["answers"]
        assert answer["space"] == other["id"]
        assert {hit["lineage"]["space"] for hit in answer["hits"]} == {other["id"]}
    (answer,) = site.found(pipeline="others", query=MOTH).json["answers"]
    assert answer["space"] == serving["id"]
    details = site.get(f"/pipelines/others?space={begins}").json
    assert (details["space"], details["model"]) == (other["id"], other["model"])
    for refused in (
        site.found(pipeline="others", query=MOTH, space="nothing"),
        site.get("/pipelines/others?space=nothing"),
    ):
        assert refused.status == 400
        assert f"{serving['id']} (serving), {other['id']} (ready)" in refused.error
