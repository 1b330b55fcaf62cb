"""`embeddings estimate`: arithmetic, checked by hand."""

import json
import re
from typing import Any, get_args

import pytest

from pipelines.cli.estimate import DtypeChoice, rows
from pipelines.operations.estimate import Corpus, Estimated, estimate
from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT
from resources.core.vectors import Dtype
from resources.models.catalogue import VARIABLE
from resources.mongodb import tiers
from tests.pipelines.helpers import embeddings, succeeds

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def of(model: str = "voyage-4", documents: int = 1_000_000, **more: Any) -> Estimated:
    return estimate(Corpus(documents, more.pop("tokens", 300), model, **more))


def test_of_a_million_texts():
    found = of()
    assert found.tokens == 300_000_000
    assert found.cost_usd == pytest.approx(0.06 * 300)
    assert found.batch_cost_usd == pytest.approx(0.06 * 300 * 0.67)
    # 300 tokens are 1,380 bytes, which count as 460: 434 of these fit into 200,000.
    assert (found.batch_texts, found.batch_files) == (434, 2_305)
    assert found.requests == 2_305  # of up to 320,000 each
    # 2,305 requests at 2,000 a minute are nothing beside 300 M tokens at 8 M a minute.
    assert found.provider_seconds == pytest.approx(300 / 8 * 60)
    assert found.limited_by == "tokens a minute"
    assert found.vector == 4 * 1024 + 7
    assert found.search_nodes["none"].bytes == 4096e6
    assert found.search_nodes["binary"].bytes == pytest.approx(4096e6 / 24)


def test_long_batches_take_several_requests_and_short_texts_many_to_one():
    assert of("voyage-4-large").requests == 2 * 2_305  # 120,000 a request
    short = of(tokens=10, documents=10_000)
    assert (short.batch_texts, short.batch_files, short.requests) == (1_000, 10, 10)


def test_limits_of_an_account_go_before_those_that_are_published():
    found = of(tokens_per_minute=16_000_000, requests_per_minute=10)
    assert found.limited_by == "requests a minute"
    assert found.provider_seconds == pytest.approx(2_305 / 10 * 60)


def test_machines_share_what_shards_divide_and_no_more():
    alone = of()
    shared = of(shards=4, machines=2)
    compared = alone.unchanged_seconds
    half = (alone.own_seconds - compared) / 2
    assert shared.own_seconds == pytest.approx(compared + half)
    assert of(machines=8).own_seconds == alone.own_seconds
    assert "8 machines share the work of 1 shards" in " ".join(of(machines=8).notes)
    assert shared.provider_seconds == alone.provider_seconds  # one account
    assert (shared.shard_texts, shared.shard_batches) == (250_000, 577)


def test_chunks_are_what_is_stored_and_tokens_those_of_the_whole():
    whole, cut = of(), of(chunks=3)
    assert cut.texts == 3_000_000
    assert cut.tokens == whole.tokens
    assert cut.text == pytest.approx(whole.text / 3)


@pytest.mark.parametrize(
    ("dtype", "vector", "nodes"),
    [
        ("float32", 4103, {"none": 4096, "scalar": 4096 / 3.75, "binary": 4096 / 24}),
        ("int8", 1031, {"none": 4096 / 3.75}),
        ("packed_bit", 135, {"none": 4096 / 24}),
    ],
)
def test_what_is_stored_and_held_by_dtype(dtype: Any, vector: int, nodes: dict[str, float]):
    found = of(dtype=dtype)
    assert found.vector == vector
    each = {name: held.bytes / found.texts for name, held in found.search_nodes.items()}
    assert each == pytest.approx(nodes)
    # Searched locally, all are compared as float32; batches hold what the provider gave.
    assert (found.local_index, found.batches) == (of().local_index, of().batches)


def test_a_local_model_takes_machines_and_no_money():
    asked = of(MINILM)
    assert (asked.cost_usd, asked.provider_seconds, asked.requests) == (0.0, None, None)
    assert "--texts-per-second" in " ".join(asked.notes)
    assert of(MINILM, texts_per_second=100).provider_seconds == 10_000
    assert of(MINILM, texts_per_second=100, shards=8, machines=4).provider_seconds == 2_500


def test_what_is_not_known_is_not_made_up(monkeypatch: pytest.MonkeyPatch, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("models: {openai/ours: {dimensions: [512]}}", "utf-8")
    monkeypatch.setenv(VARIABLE, str(file))
    found = of("ours")
    assert (found.cost_usd, found.batch_cost_usd, found.provider_seconds) == (None, None, None)
    assert "price" in found.notes[0]
    assert "limits" in found.notes[1]


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("voyage4", "voyage-4"),
        ("text-embeding-3-small", "text-embedding-3-small"),
        ("all-minilm-l6-v2", MINILM),
        ("rerank-2.5", ""),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest_names(model: str, nearest: str):
    with pytest.raises(ConfigurationError, match=f"no model {re.escape(model)}") as refused:
        of(model)
    assert nearest in str(refused.value)
    assert "embeddings models" in str(refused.value)


def test_a_width_that_it_does_not_have_is_refused():
    with pytest.raises(ConfigurationError, match="1024, 256, 512, 2048"):
        of(dimensions=300)
    assert of("text-embedding-3-large", dimensions=300).dimensions == 300
    with pytest.raises(ConfigurationError, match="multiple of 8"):
        of("text-embedding-3-large", dimensions=300, dtype="packed_bit")


@pytest.mark.parametrize(
    ("gigabytes", "tier"),
    [(1.4, "M10"), (6, "M30"), (7, "M40"), (8.1, "M50"), (384, "R700"), (385, "2 shards of R700")],
)
def test_an_index_lies_in_memory_beside_mongod(gigabytes: float, tier: str):
    assert str(tiers.fit(gigabytes * 1e9)) == tier


# --- the command


def test_every_dtype_can_be_chosen():
    assert [each.value for each in DtypeChoice] == list(get_args(Dtype))


ARGUMENTS = ["estimate", "--tokens", "300", "--model", "voyage-4"]


@pytest.mark.parametrize("documents", ["1e6", "1000000", "1_000_000", "1,000,000"])
def test_large_numbers_as_people_write_them(documents: str):
    found = json.loads(succeeds(*ARGUMENTS, "--documents", documents, "--json"))
    assert found["texts"] == 1_000_000


@pytest.mark.parametrize("documents", ["many", "0", "1.5", "-3", "nan", "inf", "1e999"])
def test_what_is_no_number_of_documents_is_refused(documents: str):
    assert embeddings(*ARGUMENTS, f"--documents={documents}").exit_code == 2


def test_a_rate_is_measured_or_given():
    result = embeddings(
        "estimate", "--documents", "10", "--tokens", "5", "--model", MINILM, "--measure", "--json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["provider_seconds"] > 0
    both = embeddings(*ARGUMENTS, "--documents", "1", "--measure", "--texts-per-second", "3")
    assert both.exit_code == 2
    remote = embeddings(*ARGUMENTS, "--documents", "1", "--measure")
    assert remote.exit_code == 1
    assert "leave out --measure" in remote.stderr


# --- docs/scale.md

PAGE = (CODE_ROOT / "docs" / "scale.md").read_text("utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_pages_figures_are_what_the_command_says():
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    head, _, *table = map(cells, lines)
    columns = [name.strip("`") for name in head[1:-1]]
    assert len(columns) == 2
    for at, arguments in enumerate(columns, 1):
        found = json.loads(succeeds("estimate", *arguments.split(), "--json"))["corpus"]
        said = {row.what: row.figure for row in rows(estimate(Corpus(**found)))}
        assert {row[0]: row[at] for row in table if row[at]} == said


def test_so_are_those_of_its_prose():
    """`estimate ARGUMENTS` (line: figure; line: figure)."""
    found = re.findall(r"`embeddings estimate ([^`]+)`\s+\(([^)]+)\)", PAGE)
    assert len(found) >= 2
    for arguments, figures in found:
        given = json.loads(succeeds("estimate", *arguments.split(), "--json"))["corpus"]
        said = {row.what: row.figure for row in rows(estimate(Corpus(**given)))}
        for figure in " ".join(figures.split()).split("; "):
            what, value = figure.split(": ")
            assert said[what] == value
