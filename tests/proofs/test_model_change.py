"""A served pipeline moves to another model of the same width, and back, while clients ask it.

The clients are two threads with one searcher, and one over HTTP at a server in another process. All
that they were told is held against what the models alone find: no answer may be of two spaces, or
of vectors of the other one.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from pipelines.operations import spaces
from resources.core.errors import SpaceError
from tests.asking import Client, Truth
from tests.assets.test_crash import embedded
from tests.conftest import Servers
from tests.killing import RunningChild, stop_before
from tests.models import build_static_model
from tests.proofs.moving import (
    QUERIES,
    TEXTS,
    answered,
    before_noting,
    check_end,
    clients,
    corpus,
    frozen,
    in_candidate,
    in_small_steps,
    promoting,
    retiring_it,
    rolling_back,
    running,
    states,
    switched,
    with_model,
    write,
)
from tests.search_node import search_node
from tests.workshop import Workshop

CHANGE = "resources.registry.pipeline_spaces:PipelineSpaces.change"

BUILDING = {
    "planning": ("resources.batch_store.plans:Plans.finish", "", 0),
    "embedding": ("resources.batch_store.store:BatchStore.write_batch", "", 3),
    "storing": ("pymongo.collection:Collection.bulk_write", "vectors", 3),
    "indexing": ("resources.registry.indexes:Indexes.record", "", 0),
    "built": (CHANGE, "", 0),
}
"""Right before what the building of a candidate is killed: method, collection, how many calls of it
go through."""
RETIRING = {
    "noting": (CHANGE, "", 0),
    "taking the first vectors": ("resources.vector_store.remover:VectorRemover.retire", "", 0),
    "taking more": ("resources.vector_store.remover:VectorRemover.retire", "", 2),
    "removing batches": ("resources.batch_store.store:BatchStore.remove_batch", "", 3),
    "gone": ("resources.registry.pipeline_spaces:PipelineSpaces.note", "", 0),
}
BATCH = 10

pytestmark = [pytest.mark.proof]


def make(folder: Path, uri: str, model: str) -> Workshop:
    shop = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", model)
    shop.configure(
        {
            "embedder": {"max_batch_chunks": BATCH},
            "search_index": {"poll_seconds": 0.05},
            "model_change": {"retire_after_days": 0},
        }
    )
    write(shop, 0)
    first = shop.run()
    assert first.success, first.failures
    return shop


@pytest.fixture(params=["embedded", "mongod", "search node"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, _servers: Servers, static_model: str
) -> Iterator[Workshop]:
    """It has run once: its first space serves."""
    with ExitStack() as stack:
        if request.param == "search node":
            uri = stack.enter_context(search_node(_servers.uri("mongod"))).uri
        else:
            uri = _servers.uri(request.param)
        made = make(tmp_path, uri, static_model)
        yield made
        made.client.drop_database(made.database)
        made.client.close()


@pytest.fixture
def other(tmp_path: Path) -> str:
    """Another model of the same width."""
    return str(build_static_model(tmp_path / "other", seed=7))


@pytest.fixture
def truth(shop: Workshop, static_model: str) -> Truth:
    (old,) = states(shop)
    known = Truth(QUERIES, [corpus(0), corpus(1)])
    known.learn(old, static_model)
    return known


def other_than(old: str, shop: Workshop) -> str:
    (new,) = (space for space in states(shop) if space != old)
    return new


def check_answers(asked: Sequence[Client], truth: Truth, old: str, new: str) -> None:
    """Each of one space, as its vectors have it; every client saw each flip once."""
    assert truth.differ()
    for client in asked:
        assert client.error is None
        for answer in client.answers:
            truth.check(answer)
        assert client.spaces == [old, new, old, new], client.name


def run_with(shop: Workshop, model: str, **embedded: int) -> None:
    """A run that embeds so much in each asset; its checks pass."""
    done = shop.run(config=with_model(model))
    assert done.success, done.failures
    assert all(done.checks.values()), done.checks
    assert {asset: done.metadata[asset]["embedded"] for asset in embedded} == embedded


def check_afterwards(shop: Workshop, old: str, new: str, other: str) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(other, device="cpu")
    check_end(shop, old, new, model)
    # What wants the model from now on has nothing to do, whether its YAML or a `-c` says so.
    run_with(shop, other, embedding_batches=0)
    check_end(shop, old, new, model)
    with pytest.raises(SpaceError, match="retired"):
        spaces.promote(shop.pipeline, old)
    with pytest.raises(SpaceError, match="no space to go back to"):
        spaces.rollback(shop.pipeline)


def test_clients_see_answers_of_one_space_and_then_of_the_other(
    shop: Workshop, truth: Truth, other: str, static_model: str
):
    (old,) = states(shop)
    with clients(shop) as asked:
        answered(asked)
        run_with(shop, other, embedding_batches=0, candidate_space=TEXTS)
        new = other_than(old, shop)
        assert states(shop) == {old: "serving", new: "ready"}
        truth.learn(new, other)
        write(shop, 1)
        run_with(shop, other, embedding_batches=1, candidate_space=1)
        run_with(shop, static_model, embedding_batches=0)  # tonight's schedule undoes nothing
        answered(asked)
        spaces.promote(shop.pipeline, new)
        switched(asked, new)
        flipped = spaces.rollback(shop.pipeline)
        assert flipped.behind
        assert flipped.behind.fresh
        switched(asked, old)
        spaces.promote(shop.pipeline, new)
        switched(asked, new)
        retired = spaces.retire(shop.pipeline, old)
        assert retired.vectors == TEXTS
        answered(asked)
    check_answers(asked, truth, old, new)
    for client in asked:
        last = client.answers[-1]
        assert [each[0] for each in last.found] == truth.of(new, 1, last.query)
    check_afterwards(shop, old, new, other)


def test_killed_at_every_step_it_comes_to_the_same(shop: Workshop, truth: Truth, other: str):
    (old,) = states(shop)
    with clients(shop) as asked:
        for step in BUILDING.values():
            answered(asked)
            frozen(shop, partial(in_candidate, *step), partial(running, other)).kill()
        new = other_than(old, shop)
        assert states(shop)[new] == "building"
        truth.learn(new, other)
        write(shop, 1)
        done, found = RunningChild(shop, work=partial(running, other)).result()
        assert (done, found) == (True, 1)
        # Each once in either space, the edit too, and the batch that was on its way.
        assert embedded(shop) <= 2 * TEXTS + 2 + BATCH
        answered(asked)

        flip = partial(promoting, new)
        frozen(shop, partial(stop_before, CHANGE), flip).kill()
        assert states(shop) == {old: "serving", new: "ready"}
        frozen(shop, partial(before_noting, "promoted"), flip).kill()
        assert written(shop) == ["first", "built"]
        assert states(shop) == {old: "previous", new: "serving"}
        switched(asked, new)
        with pytest.raises(SpaceError, match="serves films already"):
            spaces.promote(shop.pipeline, new)

        frozen(shop, partial(before_noting, "rolled back"), rolling_back).kill()
        assert written(shop) == ["first", "built", "promoted"]
        switched(asked, old)
        spaces.promote(shop.pipeline, new)
        switched(asked, new)

        for step in RETIRING.values():
            frozen(shop, partial(in_small_steps, *step), partial(retiring_it, old)).kill()
        assert states(shop)[old] == "retired"
        assert spaces.retire(shop.pipeline, old).resumed
        answered(asked)
    check_answers(asked, truth, old, new)
    check_afterwards(shop, old, new, other)


def written(shop: Workshop) -> list[str]:
    """Events that have come into the history by themselves."""
    rows = shop.client[shop.database]["pipeline_space_history"].find().sort("_id", 1)
    return [row["event"] for row in rows]


@pytest.fixture
def plain(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    made = make(tmp_path, mongod_uri, static_model)
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def test_what_may_not_serve_is_refused_with_the_reason(plain: Workshop, other: str):
    shop = plain
    (old,) = states(shop)
    child = frozen(shop, partial(in_candidate, *BUILDING["embedding"]), partial(running, other))
    new = other_than(old, shop)
    with pytest.raises(SpaceError, match="is working on"):
        spaces.promote(shop.pipeline, new)
    child.kill()
    with pytest.raises(SpaceError, match="no index"):
        spaces.promote(shop.pipeline, new)
    # Its index serves, but some of its chunks have no vector.
    child = frozen(shop, partial(in_candidate, *BUILDING["built"]), partial(running, other))
    child.kill()
    with pytest.raises(SpaceError, match="not complete"):
        spaces.promote(shop.pipeline, new)
    with pytest.raises(SpaceError, match="has no space 'nonsense'"):
        spaces.promote(shop.pipeline, "nonsense")
    assert states(shop)[old] == "serving"


def test_of_two_promotes_at_once_one_wins_and_the_other_is_told(
    plain: Workshop, other: str, tmp_path: Path
):
    shop = plain
    (old,) = states(shop)
    third = str(build_static_model(tmp_path / "third", seed=9))
    run_with(shop, other)
    new = other_than(old, shop)
    run_with(shop, third)
    (last,) = (space for space in states(shop) if space not in (old, new))
    late = RunningChild(
        shop, prepare=partial(stop_before, CHANGE), work=partial(told, last)
    )  # it has found nothing that speaks against it
    late.wait_until_frozen()
    assert spaces.promote(shop.pipeline, new, by="somebody").before == old
    late.thaw()
    done, sentence = late.result()
    assert not done
    assert f"{new} serves films by now (somebody was faster at " in sentence
    assert states(shop) == {old: "previous", new: "serving", last: "ready"}


def told(space: str, shop: Workshop) -> tuple[bool, str]:
    try:
        return True, spaces.promote(shop.pipeline, space).now
    except SpaceError as error:
        return False, str(error)
