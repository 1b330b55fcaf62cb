"""Pictures in metadata: Dagster shows what Markdown embeds, in a dialog of its own."""

import base64
from collections.abc import Callable

import dagster as dg

from resources.core.errors import EvaluationError
from resources.core.markdown import literal

LEFT_OUT = "left out: "
"""So it begins where there is no picture; it may be drawn another time."""


def picture(name: str, draw: Callable[[], bytes]) -> dg.MarkdownMetadataValue:
    """A picture as metadata; where it cannot be drawn, one sentence that says why.

    Args:
        name: Of the picture, for those who do not see it.
        draw: Makes the PNG.
    """
    try:
        png = draw()
    except EvaluationError as error:  # a measurement does not fail for want of its picture
        return dg.MetadataValue.md(literal(f"{LEFT_OUT}{error}"))
    data = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{literal(name)}](data:image/png;base64,{data})")
