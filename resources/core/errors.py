"""Errors that a user can act on: one sentence that names what, where and the way out.

EmbeddingsError
├── ConfigurationError   settings that contradict each other or the data
├── DeploymentError      MongoDB cannot be reached, or refuses us
├── LeaseError           another run works on the pipeline, or has taken over from this one
├── SourceError          the source cannot be read at all (a bad record is quarantined instead)
├── ProviderError        the embedding provider refuses, or its reply is not what was asked for
├── BatchStoreError      batch files or plans are missing or damaged
├── SearchIndexError     the search index cannot be built or is not what was declared
├── SpaceError           a space cannot serve, or go, as things stand
├── EvaluationError      judged queries cannot be used, or something to measure with is missing
└── QueryRefused         a search that would answer wrongly, so it does not answer
"""

from resources.core.credentials import hidden


class EmbeddingsError(Exception):
    """Base of everything this project raises on purpose; shows no secret, whoever worded it.

    Attributes:
        passing: It may pass by itself, and nobody has to do anything: the same may work later.
    """

    def __init__(self, *args: object, passing: bool = False) -> None:
        self.passing = passing
        super().__init__(*(hidden(each) if isinstance(each, str) else each for each in args))


class ConfigurationError(EmbeddingsError):
    pass


class DeploymentError(EmbeddingsError):
    pass


class LeaseError(EmbeddingsError):
    pass


class SourceError(EmbeddingsError):
    pass


class ProviderError(EmbeddingsError):
    pass


class BatchStoreError(EmbeddingsError):
    pass


class SearchIndexError(EmbeddingsError):
    pass


class SpaceError(EmbeddingsError):
    pass


class EvaluationError(EmbeddingsError):
    pass


class QueryRefused(EmbeddingsError):
    pass
