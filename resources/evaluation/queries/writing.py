"""Has a chat model write questions: what it will cost first, each document's once, kept at once."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from resources.core.chunks import hash_text
from resources.core.credentials import redacted
from resources.core.errors import EvaluationError
from resources.core.keys import key, shown
from resources.core.moment import now
from resources.core.progress import Progress
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.evaluation.queries.chat import Asked, ChatModel, tokens
from resources.evaluation.queries.generated import documents
from resources.evaluation.queries.provider import Where
from resources.evaluation.queries.sampling import Sample
from resources.evaluation.queries.stored import KeptQueries

if TYPE_CHECKING:
    from resources.evaluation.queries.by_model import ByModelQueries

_DOWN = 5
"""Failures in a row that are no document's fault: the server is down."""


@dataclass(frozen=True, slots=True)
class Source:
    """A document that is asked about: as much of its text as the model reads."""

    id: Any
    text: str
    text_hash: str


@dataclass(frozen=True)
class Outline:
    """What is to be asked, before it is.

    Attributes:
        documents: To be asked about.
        kept: Documents that have their questions already.
        gone: Keys of documents whose questions go: they left the source, or changed.
        tokens_in: Estimated, rather too many than too few; likewise `tokens_out`.
        cost_usd: None where no price is given.
    """

    documents: Sequence[Source]
    kept: int
    gone: Sequence[str]
    tokens_in: int
    tokens_out: int
    cost_usd: float | None


@dataclass
class Written:
    """What has been asked.

    Attributes:
        documents: That got their questions now.
        questions: So many.
        refused: Id and reason of documents that got none.
        removed: Questions that are no more, of documents that left the source or changed.
        tokens_in: As billed; likewise `tokens_out`.
        cost_usd: None where no price is given.
        stopped: Why not all was asked; empty where it was.
    """

    documents: int = 0
    questions: int = 0
    refused: list[tuple[Any, str]] = field(default_factory=list)
    removed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = None
    stopped: str = ""


class Writing:
    """Questions of one pipeline, by one model with one prompt."""

    def __init__(self, settings: "ByModelQueries", where: Where) -> None:
        self._settings, self._where = settings, where
        said = json.dumps([settings.model, settings.prompt, settings.per_document])
        self._version = hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:12]

    @property
    def set_name(self) -> str:
        """Of a set: another model or another prompt writes another one."""
        return f"by_model/{self._version}"

    def outline(self) -> Outline:
        """Read the source, and say what there is to ask, and what that costs.

        Documents that have their questions keep them: a source that grows asks for no others.

        Raises:
            EvaluationError: It costs more than it may, or nobody knows.
            SourceError: The source cannot be read.
        """
        settings, known = self._settings, self._known()
        kept: set[str] = set()
        changed: dict[str, Source] = {}
        sample: Sample[Source] = Sample(settings.sample, settings.seed)
        for document in documents(self._where):
            name = key(document.id)
            digest = hash_text(document.text)
            found = Source(document.id, document.text[: settings.max_characters], digest)
            if name in known:
                if digest in known[name]:
                    kept.add(name)
                else:
                    changed[name] = found
            elif (place := sample.place(name)) is not None:
                sample.put(place, found)
        others = max(0, settings.sample - len(kept) - len(changed))
        chosen = [*changed.values(), *islice(sample, others)]
        sizes = [tokens(settings.prompt, each.text, settings.per_document) for each in chosen]
        sent, back = sum(size[0] for size in sizes), sum(size[1] for size in sizes)
        gone = [name for name in known if name not in kept]
        outline = Outline(chosen, len(kept), gone, sent, back, self._cost(sent, back))
        self._check_budget(outline)
        return outline

    def write(self, outline: Outline, log: Callable[[str], None]) -> Written:
        """Ask, and keep each document's questions as soon as they are there.

        Raises:
            EvaluationError: The server asks for a key that is not set.
        """
        written, kept = Written(cost_usd=self._cost(0, 0)), self._kept
        kept.prepare()
        if outline.documents:
            with closing(self._model()) as model:
                self._ask_all(model, outline.documents, written, log)
        chosen = {key(each.id) for each in outline.documents}
        gone = [name for name in outline.gone if name not in chosen]
        for at in range(0, len(gone), 1_000):
            which = {**kept.which, "document_key": {"$in": gone[at : at + 1_000]}}
            written.removed += kept.collection.delete_many(which).deleted_count
        return written

    def _ask_all(
        self,
        model: ChatModel,
        chosen: Sequence[Source],
        written: Written,
        log: Callable[[str], None],
    ) -> None:
        settings, down = self._settings, 0
        progress = Progress(log, "documents asked about", len(chosen))
        coming = iter(chosen)
        waiting: dict[Future[Asked], Source] = {}
        pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="questions")
        try:
            while True:
                while not written.stopped and len(waiting) < settings.concurrency:
                    if (source := next(coming, None)) is None:
                        break
                    question = (settings.prompt, source.text, settings.per_document)
                    waiting[pool.submit(model.ask, *question)] = source
                if not waiting:
                    return
                for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                    asked = done.result()
                    self._keep(waiting[done], asked, written)
                    del waiting[done]
                    progress.advance(1)
                    down = down + 1 if asked.down else 0
                    written.stopped = written.stopped or self._why_stop(asked, down, written)
        finally:
            # Interrupted: what is under way is paid for, and is kept as well.
            pool.shutdown(cancel_futures=True)
            progress.finish()
            for done, source in waiting.items():
                if not done.cancelled() and done.exception() is None:
                    self._keep(source, done.result(), written)

    def _why_stop(self, asked: Asked, down: int, written: Written) -> str:
        most = self._settings.max_cost_usd
        if asked.ends:
            return asked.refused
        if down >= _DOWN:
            return f"{down} requests in a row have failed: {asked.refused}"
        if most is not None and (written.cost_usd or 0.0) >= most:
            return f"`max_cost_usd: {most}` is spent"
        return ""

    def _keep(self, source: Source, asked: Asked, written: Written) -> None:
        written.tokens_in += asked.tokens_in
        written.tokens_out += asked.tokens_out
        written.cost_usd = self._cost(written.tokens_in, written.tokens_out)
        if not asked.questions:
            written.refused.append((source.id, asked.refused))
            return
        queries = [_query(source, question) for question in asked.questions]
        name = key(source.id)
        self._kept.put(queries, self._lineage(source, name))
        stale = {**self._kept.which, "document_key": name, "text_hash": {"$ne": source.text_hash}}
        written.removed += self._kept.collection.delete_many(stale).deleted_count
        written.documents += 1
        written.questions += len(queries)

    def _lineage(self, source: Source, name: str) -> Mapping[str, Any]:
        settings = self._settings
        return {
            "document": source.id,
            "document_key": name,
            "text_hash": source.text_hash,
            "model": settings.model,
            "server": redacted(settings.base_url or "https://api.openai.com/v1"),
            "prompt": settings.prompt,
            "at": now(),
        }

    def _known(self) -> dict[str, set[str]]:
        """Text hashes of documents that have questions, by their keys."""
        found: dict[str, set[str]] = {}
        fields = {"document_key": 1, "text_hash": 1}
        for entry in self._kept.collection.find(self._kept.which, fields):
            found.setdefault(entry["document_key"], set()).add(entry["text_hash"])
        return found

    @property
    def _kept(self) -> KeptQueries:
        return KeptQueries(self._where.registry, self._where.pipeline, self.set_name)

    def _cost(self, sent: int, back: int) -> float | None:
        settings = self._settings
        prices = settings.usd_per_million_input, settings.usd_per_million_output
        if prices[0] is None or prices[1] is None:
            return None
        return (prices[0] * sent + prices[1] * back) / 1_000_000

    def _check_budget(self, outline: Outline) -> None:
        most, model = self._settings.max_cost_usd, self._settings.model
        if most is None or not outline.documents:
            return
        if outline.cost_usd is None:
            raise EvaluationError(
                f"`max_cost_usd` is set, but the price of {model} is not known: say it with "
                "`usd_per_million_input` and `usd_per_million_output`; nothing is spent"
            )
        if outline.cost_usd > most:
            raise EvaluationError(
                f"asking {model} about {len(outline.documents):,} documents costs about "
                f"${outline.cost_usd:.2g}, over `max_cost_usd: {most}`; nothing is spent; raise "
                "it, or lower `sample`"
            )

    def _model(self) -> ChatModel:
        settings = self._settings
        value = os.environ.get(settings.key_variable, "") if settings.key_variable else ""
        if settings.key_variable and not value:
            raise EvaluationError(
                f"asking {settings.model} needs {settings.key_variable}, which is not set: set "
                "it, name another variable with `key_variable`, or none for a server that asks "
                "for no key"
            )
        return ChatModel(
            settings.model,
            key=value,
            variable=settings.key_variable,
            base_url=settings.base_url,
            retries=settings.attempts - 1,
            seconds=settings.timeout_seconds,
        )


def _query(source: Source, question: str) -> JudgedQuery:
    # Of two documents, the same question is two queries.
    name = hashlib.sha256(f"{key(source.id)}\0{question}".encode()).hexdigest()[:15]
    return JudgedQuery(f"m{name}", question, [Judgement(source.id)])


def refusals(written: Written) -> Iterator[str]:
    """What became of documents that have no questions."""
    for name, reason in written.refused:
        yield f"{shown(name)}: {reason}"
