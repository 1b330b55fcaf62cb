"""The stage `$rerank`: what it refuses, and how it orders.

It cannot prove what the real models say, what the real server calls its errors, nor that a project
has switched it on: the score is the share of the query's words that a text has.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pymongo
from pymongo.errors import OperationFailure

from tests.search_node.content import at
from tests.search_node.definitions import Refused, invalid

NAME = "$rerank"
MODELS = ("rerank-2.5", "rerank-2.5-lite", "rerank-2", "rerank-2-lite", "rerank-3", "rerank-3-lite")
_SCORE = "__rerankScore"


@dataclass
class Reranking:
    """What a test scripts, and looks at.

    Attributes:
        on: Off, as everywhere but on Atlas, it is a server that knows no such stage.
        constant: Every document gets this score, as the public preview gave.
        failing: The next stage is refused with this.
        bodies: Of the stages that were asked for, with how many documents each read.
    """

    on: bool = False
    constant: float | None = None
    failing: Refused | None = None
    bodies: list[tuple[Mapping[str, Any], int]] = field(default_factory=list)

    def asked(self, body: Mapping[str, Any]) -> bool:
        """Whether a command is an aggregate with this stage, on a server that has it."""
        stages = body.get("pipeline") or [] if "aggregate" in body else []
        return self.on and any(NAME in stage for stage in stages)

    def answer(self, client: pymongo.MongoClient, body: Mapping[str, Any]) -> dict[str, Any]:
        """The reply: the stages around it are the mongod's."""
        database, collection, stages = body["$db"], body["aggregate"], body["pipeline"]
        place = next(at for at, stage in enumerate(stages) if NAME in stage)
        try:
            wanted = stages[place][NAME]
            check(wanted)
            if list(client[database].list_collections(filter={"name": collection, "type": "view"})):
                raise invalid(f"{NAME} is not allowed on a view")
            if self.failing is not None:
                refused, self.failing = self.failing, None
                raise refused
            rows = list(client[database][collection].aggregate(list(stages[:place])))
            ordered = self._ordered(rows, wanted)
            if ordered:
                given = {"$documents": {"$literal": ordered}}
                after = [given, *_with_score(stages[place + 1 :]), {"$unset": _SCORE}]
                ordered = list(client[database].aggregate(after))
        except OperationFailure as error:
            return {"ok": 0.0, **(error.details or {})}
        except Refused as refused:
            return {
                "ok": 0.0, "errmsg": str(refused), "code": refused.code, "codeName": refused.name,
            }  # fmt: skip
        name = f"{database}.{collection}"
        return {"ok": 1.0, "cursor": {"id": 0, "ns": name, "firstBatch": ordered}}

    def _ordered(
        self, rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        paths = [wanted["path"]] if isinstance(wanted["path"], str) else wanted["path"]
        read = rows[: wanted["numDocsToRerank"]]
        self.bodies.append((wanted, len(read)))
        for row in read:
            for path in paths:
                if not isinstance(at(row, path), str):
                    raise invalid(f'"{NAME}" path "{path}" does not exist in a document')
        scored = [
            {**row, _SCORE: self._score(wanted["query"]["text"], [at(row, p) for p in paths])}
            for row in read
        ]
        return sorted(scored, key=lambda row: -row[_SCORE])

    def _score(self, query: str, texts: Sequence[str]) -> float:
        if self.constant is not None:
            return self.constant
        words = set(re.findall(r"\w+", query.lower()))
        return len(words & set(re.findall(r"\w+", " ".join(texts).lower()))) / max(len(words), 1)


def check(stage: Mapping[str, Any]) -> None:
    for name in stage:
        if name not in ("query", "path", "numDocsToRerank", "model"):
            raise invalid(f'"{NAME}" contains unrecognized field "{name}"')
    for name in ("query", "path", "numDocsToRerank", "model"):
        if name not in stage:
            raise invalid(f'"{name}" is required')
    if not stage["query"].get("text"):
        raise invalid('"query.text" cannot be empty')
    if not 1 <= stage["numDocsToRerank"] <= 1000:
        raise invalid('"numDocsToRerank" must be within bounds [1, 1000]')
    if stage["model"] not in MODELS:
        raise invalid(f'unknown model "{stage["model"]}"')


def _with_score(value: Any) -> Any:
    """`{$meta: "score"}` as the field that holds it here."""
    if value == {"$meta": "score"}:
        return f"${_SCORE}"
    if isinstance(value, dict):
        return {name: _with_score(inner) for name, inner in value.items()}
    return [_with_score(inner) for inner in value] if isinstance(value, list) else value
