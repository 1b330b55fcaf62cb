"""Spaces change under searchers: every answer is of one, none is refused, none is late."""

import itertools
import secrets
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from assets.work.searching import following
from assets.work.searching.following import Follower
from assets.work.searching.queries import QueryEmbedder
from pipelines.operations.search import SearchAnswer, open_searcher, search
from resources.core.errors import ConfigurationError, ProviderError, QueryRefused
from resources.registry.indexes import Indexes
from resources.registry.pipeline_spaces import PipelineSpaces
from tests.conftest import Servers
from tests.pipelines.search.conftest import built
from tests.search_node import search_node
from tests.two_spaces import TwoSpaces


def check_of_one(answer: SearchAnswer) -> str:
    """An answer is of one space, whose vectors its hits come from."""
    (space,) = {hit.lineage["space"] for hit in answer.hits}
    assert space == answer.space.id
    assert ("__" + space in answer.index) == ("__" in answer.index)
    return space


@pytest.mark.parametrize(("kind", "count"), [("mongod", 20), ("embedded", 4), ("node", 4)])
def test_it_goes_over_while_it_is_asked_without_pause(
    kind: str,
    count: int,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    static_model: str,
    monkeypatch,
):
    """An answer that was begun after the follower had looked is of what it had seen, or newer."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(following, "STALE_SECONDS", 600)  # only the follower's own thread looks
    clock, looked = itertools.count(), threading.Condition()
    looks: list[tuple[int, int]] = []
    look = Follower.look

    def noted(self: Follower, *, anew: bool = False) -> Any:
        begun = next(clock)
        found = look(self, anew=anew)
        if threading.current_thread().name.startswith("searcher-"):
            with looked:
                looks.append((begun, next(clock)))
                looked.notify_all()
        return found

    monkeypatch.setattr(Follower, "look", noted)
    said: list[tuple[int, str, int]] = []
    faults: list[BaseException] = []
    stop = threading.Event()
    with ExitStack() as stack:
        servers: Servers = request.getfixturevalue("_servers")
        uri = servers.uri("embedded" if kind == "embedded" else "mongod")
        if kind == "node":
            uri = stack.enter_context(search_node(uri)).uri
        engine = "mongodb" if kind == "node" else "local"
        two = stack.enter_context(built(tmp_path, uri, static_model, engine))
        searcher = stack.enter_context(open_searcher(two.shop.pipeline))

        def ask() -> None:
            while not stop.is_set():
                begun = next(clock)
                try:
                    space = check_of_one(searcher.search("the film number 3"))
                except BaseException as fault:
                    faults.append(fault)
                    return
                said.append((begun, space, next(clock)))

        asking = [threading.Thread(target=ask) for _ in range(1)]
        for thread in asking:
            thread.start()
        flips: list[tuple[int, str, int]] = []
        try:
            for number in range(count):
                space = (two.second, two.first)[number % 2]
                begun = next(clock)
                two.serve(space)
                written = next(clock)
                with looked:
                    assert looked.wait_for(
                        lambda at=written: faults or any(each > at for each, _ in looks), 60
                    )
                seen = next(ended for each, ended in looks if each > written)
                flips.append((begun, space, seen))
                assert check_of_one(searcher.search("the film number 3")) == space
        finally:
            stop.set()
            for thread in asking:
                thread.join()
        assert not faults
        assert len(searcher._embedders) == 1
    ends = [begun for begun, _, _ in flips[1:]] + [next(clock)]
    certain = 0
    for (_, space, seen), following_flip in zip(flips, ends, strict=True):
        between = [s for begun, s, ended in said if seen < begun and ended < following_flip]
        assert set(between) <= {space}
        certain += len(between)
    assert {space for _, space, _ in said} == {two.first, two.second}


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Every search looks for itself."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0)
    monkeypatch.setattr(following, "STALE_SECONDS", 0)
    monkeypatch.setattr(following, "AGAIN_SECONDS", 0)


@pytest.mark.usefixtures("at_once")
def test_a_question_is_finished_in_the_space_it_began_in(two: TwoSpaces, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    embed = QueryEmbedder.embed

    def slow(self: QueryEmbedder, texts: Any, *rest: Any) -> Any:
        if texts == ["slowly"]:
            begun.set()
            assert go_on.wait(60)
        return embed(self, texts, *rest)

    monkeypatch.setattr(QueryEmbedder, "embed", slow)
    answers: list[SearchAnswer] = []
    with open_searcher(two.shop.pipeline, follow=False) as searcher:
        assert check_of_one(searcher.search("the film")) == two.first
        asking = threading.Thread(target=lambda: answers.append(searcher.search("slowly")))
        asking.start()
        assert begun.wait(60)
        two.serve(two.second)
        assert check_of_one(searcher.search("the film")) == two.second
        assert len(searcher._embedders) == 2, "the one before is still asked"
        go_on.set()
        asking.join()
        assert check_of_one(answers[0]) == two.first
        assert len(searcher._embedders) == 1
        assert not searcher.search("the film").notes


@pytest.mark.usefixtures("at_once")
def test_a_space_that_cannot_be_asked_from_here_costs_nobody_an_answer(two: TwoSpaces):
    away = Path(two.other).with_name("away")
    with open_searcher(two.shop.pipeline, follow=False) as searcher:
        assert searcher.search("the film").space.id == two.first
        Path(two.other).rename(away)
        try:
            two.serve(two.second)
            answer = searcher.search("the film")
            assert check_of_one(answer) == two.first
            (note,) = answer.notes
            assert f"the space {two.second} serves, and cannot be asked from here" in note
            assert note.endswith(f"this is answered in {two.first}")
            # Nor is there a mix, or a wrong answer, where the one before is gone as well.
            two.note(two.first, retired=True)
            with pytest.raises((ConfigurationError, ProviderError), match="other"):
                searcher.search("the film")
        finally:
            away.rename(two.other)
            two.note(two.first, retired=False)
        answer = searcher.search("the film")
        assert check_of_one(answer) == two.second
        assert not answer.notes


def test_another_space_is_asked_by_the_beginning_of_its_id(two: TwoSpaces):
    with open_searcher(two.shop.pipeline, follow=False) as searcher:
        assert check_of_one(searcher.search("the film", space=two.second)) == two.second
        assert check_of_one(searcher.search("the film")) == two.first
        begins = next(two.second[:n] for n in range(99) if two.second[:n] != two.first[:n])
        assert check_of_one(searcher.search("the film", space=begins)) == two.second
        # A vector of that space is asked there; both are of the same width.
        (vector,) = searcher.embed_queries(["the film"], space=begins)
        asked = searcher.search(vector, space=begins)
        assert [hit.id for hit in asked.hits] == [
            hit.id for hit in searcher.search("the film", space=begins).hits
        ]
        with pytest.raises(QueryRefused, match=f"{two.first} and|and {two.first}"):
            searcher.search("the film", space="")
        with pytest.raises(QueryRefused, match=rf"{two.first} \(serving\), {two.second} \(") as no:
            searcher.search("the film", space="minilm")
        assert "begins with 'minilm'" in str(no.value)
    assert check_of_one(search(two.shop.pipeline, "the film", space=begins)) == two.second
    assert check_of_one(search(two.shop.pipeline, "the film")) == two.first
    with open_searcher(two.shop.pipeline, space=two.second) as searcher:
        assert check_of_one(searcher.search("the film")) == two.second


@pytest.mark.usefixtures("at_once")
def test_a_space_that_is_being_built_says_how_complete_it_is(two: TwoSpaces):
    two.note(two.second, missing=12)
    try:
        with open_searcher(two.shop.pipeline, follow=False) as searcher:
            answer = searcher.search("the film", space=two.second)
            assert check_of_one(answer) == two.second
            (note,) = answer.notes
            assert "not complete: 18 of 30 chunks can be found there so far" in note
            assert not searcher.search("the film").notes
    finally:
        two.note(two.second, missing=0)


@pytest.mark.usefixtures("at_once")
def test_a_space_that_is_retired_under_a_searcher_is_refused_by_a_sentence(two: TwoSpaces):
    pipeline = two.shop.pipeline
    sentence = rf"the space {two.second} of films is retired.*{two.first} \(serving\)"
    with (
        open_searcher(pipeline, follow=False) as searcher,
        open_searcher(pipeline, follow=False, space=two.second) as pinned,
    ):
        assert pinned.search("the film").hits
        assert searcher.search("the film", space=two.second).hits
        two.note(two.second, retired=True)
        try:
            for ask in (
                lambda: pinned.search("the film"),
                lambda: searcher.search("the film", space=two.second),
                lambda: search(pipeline, "the film", space=two.second),
            ):
                with pytest.raises(QueryRefused, match=sentence):
                    ask()
            assert searcher.search("the film").hits
        finally:
            two.note(two.second, retired=False)


def test_what_is_taken_away_before_anybody_has_looked_is_told_as_well(two: TwoSpaces, monkeypatch):
    """The index fails, or finds nothing, and only then it is known why."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 600)
    monkeypatch.setattr(following, "STALE_SECONDS", 600)
    with open_searcher(two.shop.pipeline, follow=False) as searcher:
        for fails in (True, False):
            served = searcher.serving().index
            nearest = type(served).nearest

            def gone(self: Any, *asked: Any, fails: bool = fails, **how: Any) -> Any:
                if self.entry.space_id == two.first:
                    if fails:
                        raise OSError("no such file")
                    return []
                return nearest(self, *asked, **how)  # noqa: B023

            with monkeypatch.context() as patch:
                patch.setattr(type(served), "nearest", gone)
                two.serve(two.second)
                two.note(two.first, retired=True)
                assert check_of_one(searcher.search("the film")) == two.second
            two.note(two.first, retired=False)
            two.serve(two.first)
            searcher._follower.look(anew=True)


# --- embedders that are given


def test_an_embedder_of_another_space_is_refused_with_the_way_out(two: TwoSpaces, tmp_path: Path):
    pipeline, config = two.shop.pipeline, two.config("given", model=two.other)
    with pytest.raises(QueryRefused, match=f"--space {two.second}") as no:
        search(pipeline, "the film", overrides=[config])
    assert f"{two.first} of films, which serves" in str(no.value)
    answer = search(pipeline, "the film", overrides=[config], space=two.second)
    assert check_of_one(answer) == two.second
    unknown = two.config("unknown", model=two.other, query_prompt="q: ", document_prompt="d: ")
    with (
        open_searcher(pipeline, [unknown], follow=False) as searcher,
        pytest.raises(QueryRefused, match="build that space first, `embeddings run films`"),
    ):
        searcher.search("the film")


@pytest.mark.usefixtures("at_once")
def test_one_that_only_puts_questions_in_other_words_is_taken(two: TwoSpaces):
    model = two.shop.settings["embedder"]["provider"]["sentence_transformers"]["model"]
    config = two.config("prompted", model=model, query_prompt="the play number 4 ")
    with open_searcher(two.shop.pipeline, [config], follow=False) as searcher:
        prompted = searcher.search("the film number 3", limit=30)
        assert check_of_one(prompted) == two.first
        plain = search(two.shop.pipeline, "the film number 3", limit=30)
        assert [hit.score for hit in prompted.hits] != [hit.score for hit in plain.hits]
        # Once another serves, who has asked until then is not refused.
        two.serve(two.second)
        assert check_of_one(searcher.search("the film")) == two.second


def test_what_the_yaml_says_is_not_asked_for_what_serves(two: TwoSpaces, monkeypatch):
    """The registry knows how to embed there, whatever the settings say today."""
    before = dict(two.shop.settings["embedder"])
    two.shop.configure({"embedder": {"provider": {"sentence_transformers": {"model": two.other}}}})
    try:
        assert check_of_one(search(two.shop.pipeline, "the film")) == two.first
    finally:
        two.shop.configure({"embedder": before})


def test_a_variable_that_only_the_settings_need_is_not_asked_for(two: TwoSpaces):
    name = f"KEY_{secrets.token_hex(4)}".upper()
    before = dict(two.shop.settings["embedder"])
    how = {"openai": {"model": "text-embedding-3-small", "api_key": {"env": name}}}
    two.shop.configure({"embedder": {"provider": how}})
    try:
        assert check_of_one(search(two.shop.pipeline, "the film")) == two.first
    finally:
        two.shop.configure({"embedder": before})


def test_a_variable_of_the_space_that_serves_is_named(two: TwoSpaces):
    name = f"KEY_{secrets.token_hex(4)}".upper()
    how = {"openai": {"model": "text-embedding-3-small", "api_key": {"env": name}}}
    with two.registry() as (_, record):
        entry = record.entry(two.second)
        assert entry is not None
        before = entry.embedder
    two.note(two.second, embedder=how)
    two.serve(two.second)
    try:
        with pytest.raises(ConfigurationError, match=f"{name}, which is not set"):
            search(two.shop.pipeline, "the film")
    finally:
        two.note(two.second, embedder=before)


def test_a_question_reads_nothing_of_the_registry_and_a_look_two_documents(
    two: TwoSpaces, monkeypatch
):
    monkeypatch.setattr(following, "STALE_SECONDS", 600)
    reads: list[str] = []
    for kind in (PipelineSpaces, Indexes):
        get = kind.get

        def noted(self: Any, *of: Any, get: Any = get) -> Any:
            reads.append(type(self).__name__)
            return get(self, *of)

        monkeypatch.setattr(kind, "get", noted)
    with open_searcher(two.shop.pipeline, follow=False) as searcher:
        searcher.search("the film")
        searcher.search("the film", space=two.second)
        reads.clear()
        for _ in range(20):
            searcher.search("the film")
            searcher.search("the film", space=two.first)
            searcher.search("the film", space=two.second)
        assert reads == []
        searcher._follower.look(anew=True)
        assert sorted(reads) == ["Indexes", "PipelineSpaces"]
