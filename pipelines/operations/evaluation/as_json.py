"""A comparison for programs."""

import dataclasses
from typing import Any

from assets.work.evaluating.figures import Compared, Row
from pipelines.operations.evaluation.telling import by_chance, how, sentences, spent


def compared_as_json(compared: Compared) -> dict[str, Any]:
    found = dataclasses.asdict(compared)
    found["rows"] = [_row(row) for row in compared.rows]
    found["worse"] = [
        {"row": number, "queries": [dataclasses.asdict(each) for each in changed]}
        for number, changed in compared.worse.items()
    ]
    found["means"] = [*sentences(compared), spent(compared)]
    return found


def _row(row: Row) -> dict[str, Any]:
    against = {
        name: {
            **dataclasses.asdict(each),
            "significant": each.significant,
            "says": by_chance(each),
        }
        for name, each in row.against.items()
    }
    return {**dataclasses.asdict(row), "how": how(row), "against": against}
