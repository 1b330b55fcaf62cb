"""`$rerank`: Voyage AI's models, asked by the server for the documents that it holds.

Source: MongoDB's page of the stage, November 2026 (a preview): Atlas only, from MongoDB 8.3 on,
switched on for each project; not within fusion stages and not on views. It fails where a document
lacks the path, and its score takes the place of the search's: so the candidates are fetched anew by
their ids, and their text is made, empty where there is none, before it reads them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field
from pymongo.errors import OperationFailure, PyMongoError

from resources.core.errors import ConfigurationError, ProviderError
from resources.core.keys import key
from resources.core.windows import windows
from resources.mongodb.deployment import explain, lacks_search, server_message
from resources.rerankers.base import Candidate, Reranker, Scored, estimated_tokens
from resources.rerankers.facts import Facts
from resources.rerankers.meter import Meter
from resources.rerankers.provider import RerankerProvider, Stored
from resources.rerankers.remote import INSTEAD
from resources.sources.text import TextField, TextTemplate

MOST = 1000
"""Documents that the stage reads."""
_TEXT = "text"


class MongoDBReranking(RerankerProvider):
    """`$rerank` on Atlas: no key of one's own, and the texts need not be fetched first."""

    kind: Literal["mongodb"] = "mongodb"
    # On the public preview the others gave every document one score.
    model: str = Field(
        default="rerank-2.5-lite",
        min_length=1,
        description="rerank-2.5-lite, rerank-2.5; rerank-3 and -lite need a dedicated cluster of "
        "MongoDB 9.0.",
    )
    timeout_seconds: float = Field(default=30, gt=0, description="Per search (`maxTimeMS`).")

    def facts(self) -> Facts:
        return Facts.priced(self.kind, self.model, sold_as="voyage")

    def open(self, stored: Stored | None = None, meter: Meter | None = None) -> "MongoDBReranker":
        if stored is None:
            raise ConfigurationError(
                "`$rerank` reads documents in a collection, and here is none: choose another "
                "reranker, such as `-c rerank/voyage.yaml`"
            )
        return MongoDBReranker(self, stored, meter)


class MongoDBReranker(Reranker):
    """One aggregate a search; the server tells no tokens, so they are estimated."""

    def __init__(self, provider: MongoDBReranking, stored: Stored, meter: Meter | None) -> None:
        super().__init__(provider.facts())
        self._provider, self._stored, self._meter = provider, stored, meter

    def prepare(self) -> None:
        """Have the stage parsed, over no documents, which costs nothing."""
        # Without what reads its score: a server that knows neither may name that first.
        self._rows(self.stages("anything", [])[:-1])

    def score(self, query: str, candidates: Sequence[Candidate]) -> Scored:
        found: dict[str, Any] = {}
        for some in windows(candidates, MOST):
            ids = [candidate.id for candidate in some]
            rows = self._rows(self.stages(query, ids))
            found |= {key(row["_id"]): row.get("score") for row in rows}
            if self._meter is not None:
                texts = [candidate.text or "" for candidate in some]
                estimate = estimated_tokens(query, texts)
                self._meter.add(texts=len(some), tokens=None, estimate=estimate)
        scores = [found.get(key(candidate.id)) for candidate in candidates]
        gone = {
            at: "it is not there any more"
            for at, candidate in enumerate(candidates)
            if key(candidate.id) not in found
        }
        return Scored(scores, None, gone)

    def stages(self, query: str, ids: Sequence[Any]) -> list[dict[str, Any]]:
        """What is sent for so many candidates."""
        return [
            {"$match": {"_id": {"$in": list(ids)}}},
            {"$project": {_TEXT: text_expression(self._stored.text)}},
            {
                "$rerank": {
                    "query": {"text": query},
                    "path": _TEXT,
                    "numDocsToRerank": max(len(ids), 1),
                    "model": self._provider.model,
                }
            },
            {"$project": {"score": {"$meta": "score"}}},
        ]

    def _rows(self, stages: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
        most = round(self._provider.timeout_seconds * 1000)
        try:
            return list(self._stored.collection.aggregate(stages, maxTimeMS=most))
        except OperationFailure as error:
            if lacks_search(error):
                raise ConfigurationError(
                    "this deployment has no `$rerank`, which is Atlas's from MongoDB 8.3 on, once "
                    "Native Reranking is switched on in the project's settings: choose another "
                    "reranker, such as `-c rerank/voyage.yaml`"
                ) from error
            raise ProviderError(
                f"{self.facts}: the server answers `$rerank` with error {error.code} "
                f"({server_message(error)}): see that Native Reranking is on in the project's "
                f"settings; {INSTEAD}"
            ) from error
        except PyMongoError as error:
            raise explain(error, f"the server of {self._stored.collection.full_name}") from error


def text_expression(shape: TextField | TextTemplate) -> Any:
    """What makes of a stored document the text that was embedded; empty where there is none."""
    if isinstance(shape, TextField):
        return _field(shape.path, shape.join)
    parts: list[Any] = []
    for literal, path in shape.parts:
        parts += [{"$literal": literal}] if literal else []
        parts += [_field(path, shape.join)] if path is not None else []
    return {"$concat": parts}


def _field(path: str, join: str | None) -> Any:
    value = f"${path}"
    if join is None:
        return _string(value)
    # What is before the first text is nothing, and no text is before a separator.
    joined = {
        "$reduce": {
            "input": value,
            "initialValue": None,
            "in": {
                "$cond": [
                    {"$eq": ["$$value", None]},
                    _string("$$this"),
                    {"$concat": ["$$value", {"$literal": join}, _string("$$this")]},
                ]
            },
        }
    }
    return {"$cond": [{"$isArray": value}, {"$ifNull": [joined, ""]}, _string(value)]}


def _string(value: str) -> Any:
    return {"$convert": {"input": value, "to": "string", "onError": "", "onNull": ""}}
