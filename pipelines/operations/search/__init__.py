"""Search a pipeline's index from Python: `search` for a question now and then, `open_searcher` for
what answers many.
"""

from pipelines.operations.search.answer import SearchAnswer, SearchHit
from pipelines.operations.search.request import SearchOptions
from pipelines.operations.search.searcher import Searcher, open_searcher
from pipelines.operations.search.warm import search

__all__ = [
    "SearchAnswer",
    "SearchHit",
    "SearchOptions",
    "Searcher",
    "open_searcher",
    "search",
]
