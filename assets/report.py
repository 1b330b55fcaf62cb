"""Outcomes as metadata: tables in Markdown whose cells do nothing but stand there."""


def cell(value: object, width: int = 100) -> str:
    """A value as one short cell of a Markdown table."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= width else text[: width - 1] + "…"
