"""A pipeline opened to be searched."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pymongo.errors import PyMongoError

from assets.work.configured import RESOURCES
from assets.work.opened import Opened
from assets.work.searching import Searcher
from assets.work.searching.choosing import chosen
from pipelines.framework.catalog import missing_variables, open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.framework.run_config import resource_values
from resources.mongodb.deployment import explain


@contextmanager
def open_searcher(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    follow: bool = True,
    space: str | None = None,
) -> Iterator[Searcher]:
    """A searcher, to be held for as long as questions come.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        follow: Look for new versions of the index, and for another space that serves, in a thread
            of its own; else a search does, when the last look was a second ago.
        space: Stay in this space, whichever serves: its id, or how it begins.

    Raises:
        QueryRefused: There is no such space, or it is retired.
        EmbeddingsError: Wrong settings, no server, no key. That there is no index yet, or that an
            embedder among the overrides is not that of the space, is said when something is asked.
    """
    given = "provider" in resource_values(overrides, RESOURCES)["embedder"]
    # Another space may serve than that of the settings, whose embedder is not asked for then.
    missing = {} if given else missing_variables(pipeline, overrides)
    later = [name for name, key in missing.items() if key == "embedder"]
    with open_pipeline(pipeline, overrides, later=later) as opened, ExitStack() as stack:
        pinned = space is not None
        at = opened if space is None else _in_space(opened, space)
        searcher = Searcher(at, stack, follow=follow, pinned=pinned, given=given)
        stack.callback(searcher.close)
        yield searcher


def _in_space(opened: Opened, space: str) -> Opened:
    try:
        return opened.in_space(chosen(opened.record, space))
    except PyMongoError as error:
        raise explain(error, opened.mongodb.describe()) from error
