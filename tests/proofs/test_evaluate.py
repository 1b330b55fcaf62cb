"""Comparisons in processes of their own: killed, and beside one another and a run."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.evaluation.comparing import evaluate
from tests.killing import RunningChild, stop_before
from tests.pipelines.helpers import write_jsonl
from tests.pipelines.operations.evaluation.conftest import write_paid
from tests.pipelines.operations.evaluation.test_evaluate import everything, figures
from tests.providers.behaviour import Behaviour
from tests.providers.openai import OpenAIServer, openai_server
from tests.workshop import Workshop

KEY = {"OPENAI_API_KEY": "test-key"}
TEXTS, BATCH, REQUEST, CONCURRENCY = 240, 10, 5, 2
DOCUMENTS = [{"_id": n, "text": f"text {n} of {n % 7}", "kind": f"k{n % 5}"} for n in range(TEXTS)]
QUERIES = [
    {"id": n, "query": f"{n % 7} of text {n}", "relevant": [n, (n * 7) % TEXTS]}
    for n in range(0, TEXTS, 4)
]
NAMES = ("candidate", "files", "queries", "space", "worse")
"""Of files and folders, which two pipelines cannot share; what got worse has their numbers."""


def compared(candidate: str, workshop: Workshop) -> tuple[bool, Any]:
    return True, figures(evaluate(workshop.pipeline, [candidate]))


def switched(candidate: str, workshop: Workshop) -> tuple[bool, Any]:
    """A run with that model."""
    done = workshop.run(config=yaml.safe_load(Path(candidate).read_text("utf-8")))
    return done.success, done.failures


class Paid:
    """A pipeline that has run, and a candidate whose provider counts what it bills."""

    def __init__(self, folder: Path, uri: str, model: str) -> None:
        folder.mkdir()
        # Slow enough that a kill lands while something is under way.
        self._server = openai_server(Behaviour(key=KEY["OPENAI_API_KEY"], latency=0.01))
        self.server: OpenAIServer = self._server.__enter__()
        self.shop = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", model)
        self.shop.write(DOCUMENTS)
        queries = write_jsonl(folder / "queries.jsonl", QUERIES)
        self.shop.configure({"evaluation": {"queries": {"jsonl": {"path": str(queries)}}}})
        # Whole, so that the space serves, and a run with another model builds it beside.
        run = self.shop.run()
        assert run.success, run.failures
        self.candidate = write_paid(
            self.shop, self.server, max_texts=REQUEST, concurrency=CONCURRENCY
        )

    def close(self) -> None:
        self._server.__exit__(None, None, None)
        self.shop.client.drop_database(self.shop.database)
        self.shop.client.close()

    def child(
        self, work: Any = compared, prepare: Callable[[], None] | None = None
    ) -> RunningChild:
        work = partial(work, self.candidate)
        return RunningChild(self.shop, environment=KEY, prepare=prepare, work=work)

    def asked(self) -> int:
        return len(self.server.requests)

    def written(self) -> int:
        """Files of batches in the candidate's space."""
        return len(self.batches())

    def batches(self) -> set[tuple[str, str]]:
        paths = self.shop.folder.glob("batch_store/batches/*/*.parquet")
        found = {(path.parent.name, path.stem) for path in paths}
        return {each for each in found if "text-embedding-3" in each[0]}

    def kept(self) -> set[str]:
        """Texts that have a vector in a file."""
        with open_pipeline(self.shop.pipeline) as o:
            return {
                f"text {chunk} of {int(chunk) % 7}"
                for space, name in self.batches()
                for chunk in o.batches.read_batch(space, name).chunk_ids
            }

    def held(self) -> set[tuple[str, str]]:
        with open_pipeline(self.shop.pipeline) as o:
            return o.registry.evaluations.held_batches()

    def settled(self) -> dict[str, int]:
        """What was billed by text, once nothing is under way."""
        while self.server.in_flight:
            time.sleep(0.01)
        return dict(self.server.texts_billed)

    def check_ledger(self) -> None:
        """It brackets what the server billed."""
        self.settled()
        with open_pipeline(self.shop.pipeline) as o:
            rows = o.registry.ledger.spend(self.shop.name)
        mine = [each for each in rows if each.model == "text-embedding-3-small"]
        closed = sum(each.tokens for each in mine)
        unanswered = sum(each.unanswered_tokens for each in mine)
        assert 0 < closed <= self.server.tokens_billed <= closed + unanswered


@pytest.fixture
def paid(
    tmp_path: Path, mongod_uri: str, static_model: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Paid, Paid]]:
    """One that will be disturbed, and one that never is."""
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    both = [Paid(tmp_path / name, mongod_uri, static_model) for name in ("disturbed", "whole")]
    yield both[0], both[1]
    for one in both:
        one.close()


def same(found: Any) -> Any:
    """Without what two pipelines cannot share."""
    rows = [{key: row[key] for key in row if key not in NAMES} for row in found["rows"]]
    rest = {key: found[key] for key in found if key not in (*NAMES, "rows", "notes")}
    return json.loads(json.dumps({**rest, "rows": rows}))


@pytest.mark.proof
def test_killed_and_beside_others_it_comes_to_the_same_and_pays_once(paid: tuple[Paid, Paid]):
    victim, whole = paid
    wanted = same(compared(whole.candidate, whole.shop)[1])
    store = everything(victim.shop, "plans", "indexes")
    kills = 0
    moments = (victim.asked, 1), (victim.written, 2), (victim.asked, 9), (victim.written, 5)
    for seen, more in moments:
        aim = seen() + more
        if not victim.child().kill_when(lambda seen=seen, aim=aim: seen() >= aim):
            continue
        kills += 1
        billed, kept = victim.settled(), victim.kept()
        assert victim.batches() <= victim.held()
        frozen = victim.child(
            prepare=partial(stop_before, "resources.batch_store.store:BatchStore.write_batch")
        )
        # It is about to write down what it was answered: so much is at risk, and no more.
        frozen.wait_until_frozen()
        assert {text: n for text, n in victim.settled().items() if text in kept} == {
            text: billed[text] for text in kept
        }
        frozen.kill()
    assert kills >= 3
    # One is frozen on its way; another ends, and a run with that model, before it goes on.
    frozen = victim.child(
        prepare=partial(stop_before, "resources.batch_store.store:BatchStore.write_batch")
    )
    frozen.wait_until_frozen()
    beside, figures_beside = victim.child().result()
    assert beside
    assert same(figures_beside) == wanted
    assert everything(victim.shop, "plans", "indexes") == store
    ran, failures = victim.child(switched).result()
    assert ran, failures
    frozen.thaw()
    thawed, figures_thawed = frozen.result()
    assert thawed
    assert same(figures_thawed) == wanted
    assert victim.kept() == {each["text"] for each in DOCUMENTS}
    assert len(victim.shop.stored()) == TEXTS
    victim.check_ledger()
    repeated = sum(victim.settled()[each["text"]] - 1 for each in DOCUMENTS)
    # Each kill lands twice, and one runs beside; so much is under way, and one batch that waits.
    assert repeated <= (2 * kills + 1) * (CONCURRENCY + 1) * BATCH
    before = victim.asked()
    assert same(compared(victim.candidate, victim.shop)[1]) == wanted
    assert victim.asked() == before
