"""A pipeline that has run, with prompts and with fields of types that JSON has not."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bson import Decimal128, ObjectId

from pipelines.operations.search import Searcher, open_searcher
from tests.search_node import search_node
from tests.workshop import Workshop

COLOURS, THINGS = ("red", "green", "blue"), ("boat", "hat", "stone")
QUERY, DOCUMENT = "query: ", "passage: "


@pytest.fixture
def workshop(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    with search_node(mongod_uri) as node:
        made = Workshop(tmp_path, node.uri, f"test_{secrets.token_hex(6)}", static_model)
        things = made.client[made.database]["things"]
        pairs = [(colour, thing) for colour in COLOURS for thing in THINGS]
        things.insert_many(
            {
                "_id": ObjectId(f"{number:024x}"),
                "text": f"{colour} {thing}",
                "kind": thing,
                "score": number,  # a name that a search has for itself
                "seen": datetime(2026, 1, 1 + number, tzinfo=UTC),
                "price": Decimal128(f"{number}.50"),
            }
            for number, (colour, thing) in enumerate(pairs)
        )
        provider = {"model": static_model, "query_prompt": QUERY, "document_prompt": DOCUMENT}
        made.configure(
            {
                "source": {
                    "origin": {"collection": {"database": made.database, "collection": "things"}},
                    "carry": ["kind", "score", "seen", "price"],
                },
                "embedder": {"provider": {"sentence_transformers": provider}},
                "search_index": {"filter_fields": ["kind", "seen"], "poll_seconds": 0.05},
            }
        )
        yield made
        made.client.drop_database(made.database)
        made.client.close()


@pytest.fixture
def run_id(workshop: Workshop) -> str:
    run = workshop.run()
    assert run.success, run.failures
    return run.run_id


@pytest.fixture
def searcher(workshop: Workshop, run_id: str) -> Iterator[Searcher]:
    with open_searcher(workshop.pipeline) as opened:
        yield opened


@pytest.fixture
def bare(static_model: str) -> Iterator:
    """The model without the pipeline: a text's vector, prompt and all."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(static_model, device="cpu")
    return lambda text: model.encode([text], normalize_embeddings=True)[0]
