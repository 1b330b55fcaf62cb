"""What came from outside does nothing in a terminal, and is there in full, in every command."""

import ast
import io
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from assets.work.budget import Estimate
from assets.work.changing.flipping import Flipped
from assets.work.changing.retiring import Retired
from assets.work.counts import Counts
from assets.work.evaluating import figures
from assets.work.gating import Row as GateRow
from assets.work.gating import Verdict
from pipelines import cli
from pipelines.cli import (
    audit,
    compare,
    doctor,
    estimate,
    evaluate,
    history,
    index,
    lineage,
    models,
    models_for,
    plan,
    quarantine,
    queries,
    search,
    spaces,
    spend,
    status,
    streams,
    terminal,
    withdrawal,
)
from pipelines.cli.options import say_error, say_unseen
from pipelines.framework import brief, console
from pipelines.framework.console import Screen, plain, styled
from pipelines.operations.audit import Audit
from pipelines.operations.audit import Finding as AuditFinding
from pipelines.operations.doctor import Finding
from pipelines.operations.estimate import Corpus
from pipelines.operations.estimate import estimate as estimated
from pipelines.operations.history import PastRun
from pipelines.operations.lineage import (
    InSpace,
    Resting,
    SourceNow,
    Summed,
    VectorLineage,
    Withdrawal,
    Withdrawn,
)
from pipelines.operations.models_for import Choice, Ranked
from pipelines.operations.plan import DryRun, LanePlan
from pipelines.operations.quarantined import InQuarantine
from pipelines.operations.queries import Listed
from pipelines.operations.search import SearchAnswer, SearchHit
from pipelines.operations.several import Unseen
from pipelines.operations.spaces import Listed as SpaceListed
from pipelines.operations.spaces import Spaces
from pipelines.operations.spaces.comparing import Comparison, Side
from pipelines.operations.spaces.comparing import Row as ComparedRow
from pipelines.operations.spending import Spending, Spent
from pipelines.operations.status import IndexStatus, LastRun, PipelineStatus, SpaceStatus
from resources.core.errors import EmbeddingsError
from resources.core.space import EmbeddingSpace
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.evaluation.measures import MEASURES, Difference, Interval
from resources.evaluation.queries.imported import Import
from resources.evaluation.queries.writing import Outline, Source, Written
from resources.models.catalogue import ModelEntry
from resources.registry.pipeline_spaces import Change, SpaceEntry
from resources.registry.quarantine import Quarantined
from resources.search_index.mongodb.lifecycle import IndexState

NASTY = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\x1b]0;title\x07",
    "\x9b2J",
    "over\rwritten",
    "back\b\b\b\bspaced",
    "tab\tbed",
    "two\nlines",
    "\x00nul\x7f",
    "\u202egnp.exe",
    "\u2066isolate\u2069",
    "line\u2028separator",
    "[bold]markup[/bold]",
    "[link=http://evil.example]link[/link]",
    "[/]",
    "[red",
    "closing]",
    "root:x:0:0",
    ":smile:",
    "ends in \\",
    "\\[bold]",
    "{value} {0} {}",
    "\ud800half",
    "日本語 عربى 👩\u200d👩\u200d👧",
]
MEANT = st.lists(st.sampled_from(NASTY) | st.text(max_size=6), min_size=1, max_size=3).map("".join)

# Segments of colours are Rich's own; nothing else may begin with ESC.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NOW = datetime(2026, 11, 26, 18, 0)
SUMS = defaultdict(int, {"cost_usd": 0.5, "unanswered": 1, "unbilled": 1})
SPACE = EmbeddingSpace("openai", "a-model", "1", 4, "", True)


def squeezed(text: str) -> str:
    """Without white space, which tables and folds put anywhere."""
    return "".join(text.split())


def printed(show: Callable[[], object], width: int | None) -> str:
    """What appears on a terminal of that width, or in a pipe."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(out):
        for screen in (console.console, console.errors):
            patch.setattr(screen, "_width", width)
            patch.setattr(screen, "_force_terminal", width is not None)
        show()
    return out.getvalue()


def log(message: str) -> None:
    record = logging.LogRecord("", logging.WARNING, "", 0, message, (), None)
    brief._BriefHandler().emit(record)


def entry(text: str) -> ModelEntry:
    return ModelEntry.model_construct(
        provider="openai", model=text, space=text, dimensions=[4], task="embed", status="active",
        local=False, shrinkable=False, max_tokens=None, price=None, size=None, score=None,
        successor=text,
    )  # fmt: skip


def compared(text: str) -> figures.Compared:
    rows = [
        figures.Row(
            text, [text], text, text, text, 64, text, text, "vector", text, text, text,
            dict.fromkeys(MEASURES, Interval(0.5, 0.4, 0.6)),
            {} if first else dict.fromkeys(MEASURES, Difference(0.1, -0.1, 0.2, 0.2)),
            figures.Latency((0.1, 0.2), (0.1, 0.2)), figures.Whole(1, 2, 3.0, 4.0, 5), 1, 2, 1,
            [text],
        )
        for first in (True, False)
    ]  # fmt: skip
    spent = figures.Spending(1, 2, 3.0)
    return figures.Compared(
        text, text, text, text, True, 1, 0, text, 2, 1, 3, 0, 1, [text], rows, spent, notes=[text]
    )  # fmt: skip


SHOWS: dict[str, Callable[[str], object]] = {
    "error": lambda text: say_error(EmbeddingsError(text)),
    "log line": log,
    "plan": lambda text: plan.show(
        text,
        DryRun(
            Counts(replaced_spaces={text: 1}), 1, 0, text, text, Estimate(1, 2, None), None, {},
            text, text, missing={text: text}, refused=text, overruled=[text],
            candidate=LanePlan(
                Counts(replaced_spaces={text: 1}), 1, 0, text, text, Estimate(1, 2, None), None, {},
                text, text, True,
            ),
        ),
    ),
    "spend": lambda text: spend._show(
        Spending([Spent({"day": text}, SUMS)], [Spent({"day": text}, SUMS)], SUMS, SUMS, {}),
        ["day"],
    ),
    "audit": lambda text: audit.show(
        text, Audit(text, text, [text], 1, 1, 1, 1, [AuditFinding(text, 1, text, text)])
    ),
    "doctor": lambda text: [
        doctor._show(Finding(text, "problem", text, text)),
        doctor._sum_up(text, 0, [text]),
    ],
    "index list": lambda text: index._show(
        [IndexState(text, text, text, True, {"fields": [{"path": text, "type": text}]}, 1, 1, "")],
        text,
        [text],
    ),
    "quarantine list": lambda text: quarantine._show(
        text,
        InQuarantine(
            {text: [Quarantined(text, text, text, text, 1, NOW, NOW)]},
            {text: 2},
            {text: Unseen(text, asleep=False)},
        ),
    ),
    "quarantine list --all": lambda text: quarantine._show(
        None, InQuarantine({text: [Quarantined(None, text, text, text, 1, NOW, NOW)]}, {}, {})
    ),
    "left out": lambda text: say_unseen({text: Unseen(text, asleep=True)}),
    "status": lambda text: status._show(
        [
            PipelineStatus(
                text, text, text, 1, 1, IndexStatus("ready", text, 1, 1),
                LastRun(text, text, NOW, NOW, text), 1.0, 1.0, 0.0, True, text, 1,
                [SpaceStatus(text, text, "ready", text, 1, 1, 1, 1, 1)], [text], [text],
            )
        ]
    ),
    "history": lambda text: history._show(
        text, [PastRun(text, "failed", NOW, 1.0, text, text, text, text, why=text)]
    ),
    "lineage": lambda text: lineage._show_summed(
        text,
        [Summed(text, text, "serving", text, text, text, 1, 1, 1, NOW, NOW, SPACE, text, text)],
    ),
    "lineage of one": lambda text: lineage._show_vector(
        VectorLineage(
            {text: text}, {"model": text, "run": text}, SPACE, {"versions": {text: text}},
            source_id=text, path=text, excerpt=text, place={"start": text}, batch_file=text,
            run_url=text, spaces=[InSpace(text, text, f"{text}.", "ready", text, text, NOW, False)],
            source=SourceNow("unknown", text),
        )
    ),
    "lineage --model": lambda text: withdrawal.show(
        Withdrawal(
            text, [Withdrawn(text, text, "legacy", text, text, text)], False,
            [
                Resting(
                    text, text, False, text, text, "serving", text, text, 1, True, text, False, 1,
                    0.5, 1.0,
                )
            ],
            [text], {},
        )
    ),
    "search": lambda text: search.show(
        SearchAnswer(
            text,
            [SearchHit(text, 0.5, text, {}, {"model": text, "run": text}, text, {text: 1}, 1)],
            SPACE, text, text, 0.1, text, {text: text}, notes=[text],
        ),
        explain=True,
    ),
    "compare": lambda text: compare.show(
        Comparison(
            text, text, 10, Side(text, text, text, text, 0.1, [text]),
            Side(text, text, text, text, 0.1, []),
            [ComparedRow(text, text, (1, None), (0.5, None))],
            0.5, None, 0,
        )
    ),
    "queries list": lambda text: queries._show(
        Listed(
            text, text, 2, 1, text, True, [text],
            [JudgedQuery(text, text, [Judgement(text, 2)], {"kind": text})],
        )
    ),
    "queries generate": lambda text: [
        queries._announce(text, Outline([Source(text, text, text)], 0, [], 1, 1, None)),
        queries._show_written(Written(refused=[(text, text)], stopped=text)),
    ],
    "queries import": lambda text: queries._show_import(
        text, Import(1, text, changed=True, replaced=0), used=False
    ),
    "evaluate": lambda text: evaluate.show(compared(text), "ndcg@10"),
    "spaces": lambda text: spaces.show(
        Spaces(text, text, [SpaceListed(SpaceEntry(text, gate=text), "ready", text, text, True)])
    ),
    "spaces --history": lambda text: spaces.show_history(
        Spaces(text, text, [], [Change("promoted", text, text, text, text, text, NOW)])
    ),
    "promote": lambda text: spaces.show_flipped(
        Flipped(text, text, text, Change("promoted", text, why=text), notes=(text,))
    ),
    "promote --why": lambda text: spaces.show_verdict(Verdict(text, text, [GateRow(*[text] * 4)])),
    "retire": lambda text: spaces.show_retired(
        Retired(text, text, 1, 1, text, SpaceEntry(text), resumed=True)
    ),
    "estimate": lambda text: estimate.show(
        replace(
            estimated(Corpus(1, 1, "voyage-4")), model=text, limited_by=text, prices=text,
            notes=[text],
        )
    ),
    "models": lambda text: models.listing([entry(text)]).show(),
    "models --for": lambda text: models_for.show(
        Choice(text, None, text, [Ranked(entry(text), refused=text)], text, [text])
    ),
}  # fmt: skip


SHORTENED = ("search", "compare")
"""Whose texts are cut in a terminal."""


@pytest.mark.parametrize("name", SHOWS)
@settings(max_examples=25)
@given(text=MEANT, width=st.none() | st.integers(20, 160))
def test_whatever_it_says_it_is_shown_and_does_nothing(name: str, text: str, width: int | None):
    shown = printed(lambda: SHOWS[name](text), width)
    assert not OBEYED.search(shown)
    if width is None or name not in SHORTENED:
        assert squeezed(plain(text)) in squeezed(shown)


@given(value=st.recursive(MEANT, lambda inner: st.dictionaries(MEANT, inner, max_size=2)))
def test_so_it_is_in_json_and_there_it_is_the_same_value(value: Any):
    shown = printed(lambda: terminal.print_json({"value": value}), None)
    assert not OBEYED.search(shown)
    assert json.loads(shown) == {"value": value}


@given(text=MEANT, width=st.integers(20, 160))
def test_a_value_is_no_markup_and_none_of_it_is_lost(text: str, width: int):
    line = styled("[bold]a {text}[/bold] b {text} c", text=text)
    assert line.plain == f"a {plain(text)} b {plain(text)} c"
    screen = Screen(file=io.StringIO(), width=width, color_system=None)
    screen.print(text, soft_wrap=True)
    assert screen.file.getvalue() == plain(text, lines=True) + "\n"


@given(text=MEANT)
def test_so_is_the_trace_of_a_defect(text: str):
    error = ValueError(text)
    shown = printed(lambda: streams.say_traceback(ValueError, error, None), None)
    assert not OBEYED.search(shown)
    assert squeezed(plain(text, lines=True)) in squeezed(shown)


def test_a_text_that_was_made_past_all_this_is_caught():
    screen = Screen(file=io.StringIO(), width=80, color_system=None)
    screen.print(Text("title \x1b]0;mine\x07 set"))
    assert screen.file.getvalue().startswith("title \\x1b]0;mine")


# --- the rule, for commands that are still to be written

SOURCES = [*Path(cli.__file__).parent.glob("*.py"), Path(brief.__file__)]
OWN = {"terminal.py", "streams.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_commands_print_through_one_function(path: Path):
    """`say` and `styled` with their words written out, `Listing`, `facts`: nothing else prints."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
        name = called if isinstance(called, str) else getattr(called, "id", "")
        if name in ("say", "styled"):
            words = node.args[0]
            assert isinstance(words, ast.Constant), f"line {node.lineno}: {name} of no literal"
        elif path.name not in OWN:
            name = f".{name}" if isinstance(called, str) and name == "write" else name
            assert name not in ("print", "echo", "secho", ".write", "Text", "from_markup"), (
                f"line {node.lineno}: {name} prints data as they are"
            )
