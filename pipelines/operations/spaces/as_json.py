"""Spaces, and what was done about them, for programs."""

import dataclasses
from datetime import datetime
from typing import Any

from assets.work.changing.flipping import Flipped
from assets.work.changing.retiring import Retired
from assets.work.gating import Verdict
from pipelines.operations.spaces.listing import Spaces


def spaces_as_json(found: Spaces) -> dict[str, Any]:
    return {
        "pipeline": found.pipeline,
        "store": found.store,
        "spaces": [
            {
                **_plain(dataclasses.asdict(each.entry)),
                "state": each.state,
                "path": each.path,
                "index": each.index,
                "wanted": each.wanted,
            }
            for each in found.spaces
        ],
        "history": [_plain(dataclasses.asdict(each)) for each in found.history],
    }


def flipped_as_json(done: Flipped) -> dict[str, Any]:
    return {
        "pipeline": done.pipeline,
        "before": done.before,
        "now": done.now,
        "change": _plain(dataclasses.asdict(done.change)),
        "behind": dataclasses.asdict(done.behind) if done.behind else None,
        "verdict": verdict_as_json(done.verdict) if done.verdict else None,
        "notes": list(done.notes),
    }


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    return {**_plain(dataclasses.asdict(verdict)), "passed": verdict.passed}


def retired_as_json(done: Retired) -> dict[str, Any]:
    return _plain(dataclasses.asdict(done))


def _plain(value: Any) -> Any:
    """Moments as ISO 8601."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value
