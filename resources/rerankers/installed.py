"""The rerankers of this installation: ours, and those that other packages add."""

from collections.abc import Mapping
from functools import cache

from resources.models.installed import Unusable, installed
from resources.models.kinds import RERANKERS
from resources.rerankers.base import Reranker
from resources.rerankers.facts import Facts
from resources.rerankers.meter import Meter
from resources.rerankers.mongodb import MongoDBReranking
from resources.rerankers.provider import NoReranking, RerankerProvider, Stored
from resources.rerankers.sentence_transformers import SentenceTransformersReranking
from resources.rerankers.voyage import VoyageReranking


class UnusableReranking(RerankerProvider, Unusable):
    def facts(self) -> Facts:
        self.refuse()

    def open(self, stored: Stored | None = None, meter: Meter | None = None) -> Reranker:
        self.refuse()


@cache
def rerankers() -> Mapping[str, type[RerankerProvider]]:
    """By the key that chooses them in YAML."""
    own = (NoReranking, SentenceTransformersReranking, VoyageReranking, MongoDBReranking)
    return installed(RERANKERS, own, RerankerProvider, UnusableReranking)
