"""Search a pipeline that is opened: what answers questions, for a person and for who measures."""

from assets.work.searching.answer import SearchAnswer, SearchHit
from assets.work.searching.rankings import Found, Question
from assets.work.searching.request import SearchOptions
from assets.work.searching.searcher import Asking, Searcher

__all__ = ["Asking", "Found", "Question", "SearchAnswer", "SearchHit", "SearchOptions", "Searcher"]
