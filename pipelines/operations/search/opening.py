"""A pipeline opened to be searched."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from assets.work.searching import Searcher
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline


@contextmanager
def open_searcher(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    follow: bool = True,
) -> Iterator[Searcher]:
    """A searcher, to be held for as long as questions come.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        follow: Look for new versions of the index in a thread of its own; else a search does, when
            the last look was a second ago.

    Raises:
        EmbeddingsError: Wrong settings, no server, no key. That there is no index yet is said when
            something is asked.
    """
    with open_pipeline(pipeline, overrides) as opened, ExitStack() as stack:
        searcher = Searcher(opened, stack, follow=follow)
        stack.callback(searcher.close)
        yield searcher
