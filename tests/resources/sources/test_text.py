import pytest
from bson.decimal128 import Decimal128
from hypothesis import given
from hypothesis import strategies as st

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
        (
            "cast",
            "text field 'cast' is a list, not text: where it holds texts, the setting join makes "
            "them one",
        ),
        ("address", "text field 'address' is an object, not text"),
        ("title.first", "text field 'title.first' is missing"),
        ("{title} {summary}", "template field 'summary' is missing"),
        ("{title} {plot}", "template field 'plot' is null"),
        (
            "{title} {cast}",
            "template field 'cast' is a list, not text: where it holds texts, the setting join "
            "makes them one",
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


BLANK = st.sampled_from(["", " ", "\n\t", "\u00a0", "\u2003 "])
SOME_TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@given(st.dictionaries(st.sampled_from("abc"), SOME_TEXT | BLANK), st.sampled_from(["", ": "]))
def test_a_template_whose_field_is_empty_is_one_whose_field_is_missing(
    record: dict[str, str], between: str
) -> None:
    template = parse_text(between.join(["{a}", "{b}", "{c}"]))
    full = {name for name, value in record.items() if value.strip()}
    if full == set("abc"):
        assert template.render(record) == between.join(record[name] for name in "abc")
        return
    with pytest.raises(BadRecord) as raised:
        template.render(record)
    first = min(set("abc") - full)
    blank = record.get(first)
    state = "missing" if blank is None else "only whitespace" if blank else "empty"
    counts = "" if blank is None else ", which counts as missing"
    assert raised.value.reason == f"template field {first!r} is {state}{counts}"


@given(st.lists(SOME_TEXT | BLANK), st.sampled_from(["", "\n", ", ", " | "]))
def test_a_list_of_texts_is_a_text_if_join_says_so(texts: list[str], join: str) -> None:
    for setting, around in (("tags", "{}"), ("tagged {tags}.", "tagged {}.")):
        shape = parse_text(setting, join)
        if any(text.strip() for text in texts):
            assert shape.render({"tags": texts}) == around.replace("{}", join.join(texts))
        else:
            with pytest.raises(BadRecord, match="'tags' is empty"):
                shape.render({"tags": texts})
        with pytest.raises(BadRecord, match="where it holds texts, the setting join"):
            parse_text(setting).render({"tags": texts})


@pytest.mark.parametrize("setting", ["tags", "{tags}"])
def test_a_list_of_other_things_is_no_text(setting: str) -> None:
    for value, found in ((None, "null"), (5, "a number"), (["a"], "a list"), ({}, "an object")):
        with pytest.raises(BadRecord, match=f"'tags' is a list whose element 1 is {found}, not t"):
            parse_text(setting, ",").render({"tags": ["a", value]})


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
