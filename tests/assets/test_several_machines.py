"""A worker whose batch store is another folder, by the same name, is told so."""

import socket
from typing import Any

import pytest

from tests.workshop import Workshop


@pytest.fixture
def shop(workshop: Workshop) -> Workshop:
    workshop.write([{"_id": n, "text": f"text {n}", "kind": "a"} for n in range(3)])
    return workshop


def elsewhere(shop: Workshop) -> dict[str, Any]:
    url = str(shop.folder / "another disk")
    return {"resources": {"batch_store": {"config": {"url": url}}}}


def test_another_machine_does_not_find_the_plan(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    made = shop.run("source_documents")
    assert made.success, made.failures
    monkeypatch.setattr(socket, "gethostname", lambda: "worker-2")
    missing = shop.run("embedding_batches", config=elsewhere(shop))
    (sentence,) = missing.failures
    assert sentence.startswith("worker-2 does not find the plan 20")
    for words in (f"of films in {shop.folder}/another disk", made.run_id, "batch_store: url"):
        assert words in sentence
    assert f"to {shop.folder}/batch_store," in sentence

    # Where both reach the same batches, it is carried out.
    done = shop.run("embedding_batches", "stored_vectors")
    assert done.success, done.failures
    assert len(shop.stored()) == 3


def test_an_old_plan_is_not_taken_for_the_newest(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    assert shop.run("source_documents", config=elsewhere(shop)).success
    assert shop.run("source_documents").success
    monkeypatch.setattr(socket, "gethostname", lambda: "worker-2")
    stale = shop.run("embedding_batches", config=elsewhere(shop))
    assert "does not find the plan" in stale.failures[0]


def test_batches_that_are_gone_here_are_told_as_before(shop: Workshop):
    assert shop.run("source_documents").success
    gone = shop.run("embedding_batches", config=elsewhere(shop))
    assert gone.failures[0].endswith("materialize films/source_documents first")
