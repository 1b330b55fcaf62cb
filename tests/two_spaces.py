"""A pipeline with two spaces of the same width, both complete: whichever serves is flipped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.framework.catalog import open_pipeline
from resources.registry.pipeline_spaces import Change, PipelineRecord, PipelineSpaces
from tests.models import build_static_model
from tests.workshop import Workshop


@dataclass
class TwoSpaces:
    """Ids of the one that served first, and of the one that was built beside it."""

    shop: Workshop
    first: str
    second: str
    other: str

    def serve(self, space_id: str) -> None:
        """Flip, unless it serves."""
        with self.registry() as (spaces, record):
            if record.serving != space_id:
                assert spaces.serve(record, Change("promoted", space_id, by="a test"))

    def note(self, space_id: str, **values: Any) -> None:
        with self.registry() as (spaces, record):
            spaces.note(record, space_id, **values)

    @contextmanager
    def registry(self) -> Iterator[tuple[PipelineSpaces, PipelineRecord]]:
        with open_pipeline(self.shop.pipeline) as o:
            yield o.registry.of_pipelines, o.record

    def config(self, name: str, **provider: Any) -> Path:
        """A run config with an embedder."""
        file = self.shop.folder / f"{name}.yaml"
        chosen = {"provider": {"sentence_transformers": provider}}
        file.write_text(yaml.safe_dump({"resources": {"embedder": {"config": chosen}}}), "utf-8")
        return file


def two_spaces(shop: Workshop) -> TwoSpaces:
    """Run a pipeline, and once more with another model."""
    run = shop.run()
    assert run.success, run.failures
    other = str(build_static_model(shop.folder / "other", seed=7))
    chosen = {"provider": {"sentence_transformers": {"model": other}}}
    run = shop.run(config={"resources": {"embedder": {"config": chosen}}})
    assert run.success, run.failures
    with open_pipeline(shop.pipeline) as o:
        first = o.record.serving
        (second,) = (e.space_id for e in o.record.entries() if e.space_id != first)
    assert first
    return TwoSpaces(shop, first, second, other)
