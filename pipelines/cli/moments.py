"""Days, months and lengths of time as options take them; days are UTC's, as in the ledgers."""

from datetime import UTC, date, datetime, time, timedelta

import typer

from resources.core.length import length as parsed


def length(text: str) -> timedelta:
    """`26h`, `90m`, `1d12h`.

    Raises:
        typer.BadParameter: It is none.
    """
    try:
        return parsed(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def month(text: str) -> date:
    """The first day of `2026-11`.

    Raises:
        typer.BadParameter: It is none.
    """
    try:
        return datetime.strptime(text.strip(), "%Y-%m").date()
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no month such as 2026-11") from error


def moment(text: str) -> datetime:
    """`2026-11-26`, which is its first moment in UTC, or so long ago: `7d`.

    Raises:
        typer.BadParameter: It is neither, or before the calendar.
    """
    try:
        return datetime.combine(date.fromisoformat(text.strip()), time(), UTC)
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - length(text)
    except (typer.BadParameter, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is neither a day such as 2026-11-26 nor a length of time such as 7d"
        ) from error


def shown(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
