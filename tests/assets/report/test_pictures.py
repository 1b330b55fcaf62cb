"""Pictures in an asset's metadata: Markdown that embeds one, or says why there is none."""

import base64

from assets.report.pictures import picture
from resources.core.errors import EvaluationError
from tests.resources.core.test_markdown import READER


def test_a_picture_is_embedded():
    value = picture("quality against bytes", lambda: b"png").value
    (image,) = READER.parseInline(value or "")[0].children or []
    assert image.type == "image"
    assert image.content == "quality against bytes"
    assert image.attrs["src"] == f"data:image/png;base64,{base64.b64encode(b'png').decode()}"


def test_one_that_cannot_be_drawn_is_left_out_with_a_sentence():
    def draw() -> bytes:
        raise EvaluationError("pictures need <matplotlib>")

    assert picture("a", draw).value == "left out: pictures need \\<matplotlib\\>"
