"""The providers of this installation: ours, and those that other packages add."""

from collections.abc import Callable, Mapping
from functools import cache

from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embedder
from resources.embedders.batch.jobs import Jobs
from resources.embedders.facts import Facts
from resources.embedders.journal import Journal
from resources.embedders.openai import OpenAIProvider
from resources.embedders.provider import Provider
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.embedders.voyage import VoyageProvider
from resources.models.installed import Unusable, installed
from resources.models.kinds import EMBEDDERS


class UnusableProvider(Provider, Unusable):
    def space(self) -> EmbeddingSpace:
        self.refuse()

    def facts(self) -> Facts:
        self.refuse()

    def open(
        self,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> Embedder:
        self.refuse()


@cache
def providers() -> Mapping[str, type[Provider]]:
    """By the key that chooses them in YAML."""
    own = (SentenceTransformersProvider, VoyageProvider, OpenAIProvider)
    return installed(EMBEDDERS, own, Provider, UnusableProvider)
