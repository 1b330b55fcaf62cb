"""Search a pipeline's index from Python: `search` for a question now and then, `open_searcher` for
what answers many.
"""

from assets.work.searching import SearchAnswer, Searcher, SearchHit, SearchOptions
from pipelines.operations.search.opening import open_searcher
from pipelines.operations.search.warm import search

__all__ = [
    "SearchAnswer",
    "SearchHit",
    "SearchOptions",
    "Searcher",
    "open_searcher",
    "search",
]
