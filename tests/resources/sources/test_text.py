import pytest
from bson.decimal128 import Decimal128

from resources.sources.rejection import BadRecord
from resources.sources.text import TextField, TextTemplate, parse_text

RECORD = {
    "title": "Le Plat Pays",
    "year": 1962,
    "short": True,
    "price": Decimal128("1.50"),
    "address": {"country": "Belgium"},
    "cast": ["Brel"],
    "dotted.key": "as is",
    "plot": None,
}


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("title", "Le Plat Pays"),
        ("address.country", "Belgium"),
        ("dotted.key", "as is"),
        ("{title}", "Le Plat Pays"),
        ("{title}: {year}", "Le Plat Pays: 1962"),
        ("{title} ({address.country}), {title}", "Le Plat Pays (Belgium), Le Plat Pays"),
        ("{{{title}}}", "{Le Plat Pays}"),
        ("{short} {price}", "true 1.50"),
        ("{dotted.key}", "as is"),
    ],
)
def test_what_is_rendered(setting: str, text: str) -> None:
    assert parse_text(setting).render(RECORD) == text


def test_the_text_of_a_value_is_not_taken_for_a_template() -> None:
    assert parse_text("{title}").render({"title": "{year} {0.__class__}"}) == "{year} {0.__class__}"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("summary", "text field 'summary' is missing"),
        ("plot", "text field 'plot' is null"),
        ("year", "text field 'year' is a number, not text"),
        ("cast", "text field 'cast' is a list, not text"),
        ("address", "text field 'address' is an object, not text"),
        ("title.first", "text field 'title.first' is missing"),
        ("{title} {summary}", "template field 'summary' is missing"),
        ("{title} {plot}", "template field 'plot' is null"),
        (
            "{title} {cast}",
            "template field 'cast' is a list, and a template takes text, numbers and true or false",
        ),
        ("{address.city}", "template field 'address.city' is missing"),
    ],
)
def test_what_is_not_rendered(setting: str, reason: str) -> None:
    with pytest.raises(BadRecord) as raised:
        parse_text(setting).render(RECORD)
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \t\n\u00a0\u2003", "is only whitespace"),
        ("ab\ud800", "is not valid UTF-8: it holds a lone surrogate"),
    ],
)
@pytest.mark.parametrize("setting", ["text", "{text}"])
def test_nothing_to_embed(setting: str, text: str, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        parse_text(setting).render({"text": text})


@pytest.mark.parametrize("text", ["a", "\0", "a\0b", "🎬", " padded "])
def test_what_is_embedded_is_left_as_it_is(text: str) -> None:
    assert parse_text("text").render({"text": text}) == text


def test_the_fields_of_a_text() -> None:
    field, template = parse_text("a.b"), parse_text("{b}{a.c} {b}")
    assert isinstance(field, TextField)
    assert isinstance(template, TextTemplate)
    assert (field.fields, template.fields) == (("a.b",), ("b", "a.c"))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("", "text is empty"),
        ("  ", "text is empty"),
        ("a..b", "no field name"),
        ("$where", "operator"),
        ("{title", "malformed"),
        ("title}", "malformed"),
        ("{}", "no field name"),
        ("{ }", "no field name"),
        ("{a.}", "no field name"),
        ("{{title}}", "names no field"),
        ("{title!r}", "format or conversion"),
        ("{title:>10}", "format or conversion"),
        ("{title:{year}}", "format or conversion"),
        ("{cast[0]}", "brackets"),
        ("cast[0]", "brackets"),
        ("{title.__class__}", "reaches into Python"),
    ],
)
def test_what_is_no_setting(setting: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_text(setting)
