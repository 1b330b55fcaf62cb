"""What was measured of searches, and when: `evaluations`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal

from pymongo.collection import Collection

from resources.core.moment import now

Kind = Literal["search_quality", "candidate", "gate"]


@dataclass(frozen=True)
class QuerySetFacts:
    """The judged queries that figures are of.

    Attributes:
        description: As the set describes itself.
        digest: The same for the same queries with the same judgements.
        answerable: Queries that something is relevant for; the figures are their means.
        unanswerable: Queries that nothing is relevant for, told apart.
        not_in_store: Relevant documents that are not stored, and stand in no quarantine.
        in_quarantine: Relevant documents that stand in quarantine.
    """

    description: str
    digest: str
    answerable: int = 0
    unanswerable: int = 0
    not_in_store: int = 0
    in_quarantine: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One measurement.

    Attributes:
        id: Of the evaluation; it sorts by time.
        kind: Of what people search now, of what they might, or of two spaces of which one is to
            serve.
        at: When it was finished, UTC.
        run: Id of the Dagster run, or of who else measured.
        space: Id of the embedding space.
        model: `provider`, `model`, `dimensions`, `stored_as`.
        mode: How the queries were asked.
        reranked: Which model read the hits again; None: none did.
        queries: The set.
        measures: By name, `{"mean": …, "low": …, "high": …}`; a relevant document that is not
            there counts as missed.
        measures_of_stored: The same without such documents among the judgements.
        latency: `p50`, `p95` in seconds, and what else was timed, by name.
        bytes: `per_vector`, `index` and the like.
        passed: Whether what the settings ask of the figures holds; None where nothing was asked.
        accepted: When somebody said that this is what later ones are compared with.
        baseline: Id of the one that it was compared with.
        state: What it was measured on; the same again: it need not be measured again.
        holds: Batches that must stay until it expires: `[space id, batch]`.
        expires: From when on they may go; None: it holds nothing.
        details: Whatever else belongs to it.
    """

    id: str
    pipeline: str
    kind: Kind
    at: datetime
    run: str
    space: str
    model: Mapping[str, Any]
    mode: str
    queries: QuerySetFacts
    measures: Mapping[str, Mapping[str, float]]
    measures_of_stored: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reranked: str | None = None
    latency: Mapping[str, float] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    passed: bool | None = None
    accepted: datetime | None = None
    baseline: str | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    holds: Sequence[Sequence[str]] = ()
    expires: datetime | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Evaluation":
        values = {**document, "id": document["_id"]}
        values["queries"] = QuerySetFacts(**document["queries"])
        for name in ("at", "accepted", "expires"):
            if values.get(name) is not None:
                values[name] = values[name].replace(tzinfo=UTC)
        return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})

    def to_document(self) -> dict[str, Any]:
        document = asdict(self)
        return {"_id": document.pop("id"), **document}


class Evaluations:
    """Evaluations of all pipelines, each under its id."""

    def __init__(self, collection: Collection) -> None:
        self._evaluations = collection

    def prepare(self) -> None:
        self._evaluations.create_index([("pipeline", 1), ("at", -1)])

    def hold(self, id: str, batches: Iterable[Sequence[str]], expires: datetime) -> None:  # noqa: A002
        """Let batches stay until then for an evaluation that is under way, and has no figures yet.

        Args:
            id: Of the evaluation, which nobody finds before it is recorded.
            batches: Space id and name of each.
            expires: As of `Evaluation`.
        """
        held = {"holds": [list(each) for each in batches], "expires": expires}
        self._evaluations.update_one({"_id": id}, {"$set": held}, upsert=True)

    def record(self, evaluation: Evaluation) -> None:
        """Note one, or what has become of it; that somebody has accepted it stays, and `hold`."""
        values = evaluation.to_document()
        if evaluation.accepted is None:
            values.pop("accepted")
        if evaluation.expires is None:
            del values["holds"], values["expires"]
        values["seen"] = now()
        self._evaluations.update_one({"_id": values.pop("_id")}, {"$set": values}, upsert=True)

    def get(self, id: str) -> Evaluation | None:  # noqa: A002
        document = self._evaluations.find_one({"_id": id})
        return Evaluation.of(document) if document else None

    def latest(
        self, pipeline: str, digest: str | None = None, *, kind: Kind = "search_quality"
    ) -> Evaluation | None:
        """The newest, of one query set or of any."""
        return self._newest(pipeline, kind, {"queries.digest": digest} if digest else {})

    def of_state(self, pipeline: str, state: Mapping[str, Any]) -> Evaluation | None:
        """The newest of whichever kind that was measured on exactly this."""
        alike = {"pipeline": pipeline, "queries.digest": state["queries"], "space": state["space"]}
        for document in self._evaluations.find(alike).sort([("at", -1), ("_id", -1)]):
            if document.get("state") == dict(state):
                return Evaluation.of(document)
        return None

    def current(self, pipeline: str) -> Evaluation | None:
        """The one that was recorded last, or found to hold still."""
        return self._newest(pipeline, "search_quality", {}, by="seen")

    def note_seen(self, id: str) -> None:  # noqa: A002
        """It holds still: nothing that its figures go by has changed."""
        self._evaluations.update_one({"_id": id}, {"$set": {"seen": now()}})

    def baseline(self, pipeline: str, digest: str, *, before: str = "") -> Evaluation | None:
        """What a new one is compared with: the one that was accepted last, else the last that
        passed; of the same queries with the same judgements.

        Args:
            pipeline: Of the evaluations.
            digest: Of the query set.
            before: Id of the new one, which is not compared with itself.
        """
        same: dict[str, Any] = {"queries.digest": digest}
        if before:
            same["_id"] = {"$ne": before}
        accepted = {**same, "accepted": {"$type": "date"}}
        return self._newest(pipeline, "search_quality", accepted, by="accepted") or self._newest(
            pipeline, "search_quality", {**same, "passed": True}
        )

    def history(
        self, pipeline: str, limit: int | None = None, *, kind: Kind | None = "search_quality"
    ) -> list[Evaluation]:
        """The newest first; of one kind, or of all."""
        wanted = {"pipeline": pipeline, **({"kind": kind} if kind else {})}
        found = self._evaluations.find(wanted).sort([("at", -1), ("_id", -1)])
        return [Evaluation.of(document) for document in found.limit(limit or 0)]

    def accept(self, pipeline: str, id_or_run: str) -> Evaluation | None:
        """Let later ones be compared with this one, by its id or its run's.

        Returns:
            The evaluation; None where the pipeline has none of this name.
        """
        named = {"$or": [{"_id": id_or_run}, {"run": id_or_run}]}
        found = self._newest(pipeline, "search_quality", named)
        if found is None:
            return None
        self._evaluations.update_one({"_id": found.id}, {"$set": {"accepted": now()}})
        return self.get(found.id)

    def held_batches(self) -> set[tuple[str, str]]:
        """Space id and name of every batch that an evaluation of any pipeline still needs."""
        wanted = {"expires": {"$gt": now()}, "holds.0": {"$exists": True}}
        found = self._evaluations.find(wanted, {"holds": 1})
        return {(space, batch) for each in found for space, batch in each["holds"]}

    def spaces_in_use(self, since: datetime) -> set[str]:
        """Ids of the spaces that anybody has evaluated since then, or still holds batches for, and
        of every pipeline's newest evaluation.
        """
        recent = {"$or": [{"seen": {"$gte": since}}, {"expires": {"$gt": now()}}]}
        newest = (self.current(name) for name in self._evaluations.distinct("pipeline"))
        found = set(self._evaluations.distinct("space", recent))
        return found | {each.space for each in newest if each is not None}

    def _newest(
        self, pipeline: str, kind: Kind, wanted: Mapping[str, Any], by: str = "at"
    ) -> Evaluation | None:
        query = {"pipeline": pipeline, "kind": kind, **wanted}
        document = self._evaluations.find_one(query, sort=[(by, -1), ("_id", -1)])
        return Evaluation.of(document) if document else None
