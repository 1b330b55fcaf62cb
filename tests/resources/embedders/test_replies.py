"""Rows of generated replies: the good ones are kept in their places, whatever is beside them."""

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.core.errors import ProviderError
from resources.core.space import EmbeddingSpace
from resources.embedders.base import (
    Embedder,
    Embeddings,
    Refusal,
    check_reply,
    converted,
    without_zeros,
)
from resources.embedders.facts import Facts
from resources.embedders.failures import RequestFailed
from resources.embedders.replies import Reply, checked, decoded, read_answer, read_rows

WIDTH = 8
SPACE = EmbeddingSpace("openai", "m", "", WIDTH, "", True)
BAD = [
    None,
    [],
    "",
    "no base64",
    "AAAA",
    [None] * WIDTH,
    [float("nan")] * WIDTH,
    [1.0, float("nan")] + [0.0] * (WIDTH - 2),
    [1.0, float("inf")] + [0.0] * (WIDTH - 2),
    [1e39] * WIDTH,
    ["a"] * WIDTH,
    [[1.0]] * WIDTH,
    [1.0] * WIDTH,
    [0.5] * (WIDTH - 1),
    [0.5] * (WIDTH + 1),
    {"values": [1.0]},
    3,
    True,
]


def vector(number: int) -> np.ndarray:
    row = np.zeros(WIDTH, "<f4")
    row[number % WIDTH] = 1 if number < WIDTH else -1
    return row


def encoded(row: np.ndarray, as_text: bool) -> Any:
    return base64.b64encode(row.tobytes()).decode() if as_text else row.tolist()


def reply(rows: list[Any], order: list[Any]) -> Reply:
    data = [{"embedding": row, "index": at} for row, at in zip(rows, order, strict=True)]
    vectors, positions = read_rows(data)
    return Reply(vectors, 1, positions, {})


@given(
    bad=st.dictionaries(st.integers(0, 15), st.sampled_from(BAD), max_size=15),
    as_text=st.booleans(),
    order=st.permutations(range(16)),
    first=st.sampled_from([0, 1]),
)
def test_bad_rows_cost_no_others_in_any_order(bad, as_text, order, first):
    rows = [bad.get(at, encoded(vector(at), as_text)) for at in order]
    found = checked(reply(rows, [at + first for at in order]), 16, SPACE)
    assert found.faults.keys() == bad.keys()
    for at in range(16):
        wanted = np.zeros(WIDTH) if at in bad else vector(at)
        assert np.array_equal(found.vectors[at], wanted)


@given(st.lists(st.one_of(st.none(), st.integers(-2, 20), st.text(max_size=2)), min_size=2))
def test_rows_are_never_given_to_the_wrong_text(order: list[Any]):
    """Each index names its row's text, or the reply is as good as none."""
    rows = [vector(at % 16).tolist() for at in range(len(order))]
    numbers = [int(at) if isinstance(at, str) and at.isdecimal() else at for at in order]
    try:
        found = checked(reply(rows, order), len(order), SPACE)
    except RequestFailed:
        return
    first = min(numbers) if all(isinstance(at, int) for at in numbers) else 0
    for row, at in enumerate(numbers):
        position = at - first if isinstance(at, int) else row
        assert np.array_equal(found.vectors[position], rows[row])


@pytest.mark.parametrize("count", [0, 3, 5])
def test_rows_that_are_not_as_many_as_texts_are_none(count: int):
    rows = [vector(at).tolist() for at in range(count)]
    with pytest.raises(RequestFailed, match=f"returned {count} vectors for 4 texts"):
        checked(reply(rows, list(range(count))), 4, SPACE)


@given(st.sampled_from([[0.5] * 4, [0.25] * WIDTH, [1.0] * 12]), st.integers(1, 5))
def test_rows_that_are_all_wrong_by_a_setting_are_told_apart(row: list[float], count: int):
    with pytest.raises(RequestFailed, match="is stored") as caught:
        checked(reply([row] * count, list(range(count))), count, SPACE)
    assert caught.value.kind == "misfit"
    assert caught.value.said.startswith("it returned a vector of ")


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_none_spoils_its_vector_and_no_other(number: float, normalized: bool):
    space = replace(SPACE, normalized=normalized)
    rows = np.stack([vector(0), vector(1)])
    rows[1, 3] = number
    found = checked(reply(rows.tolist(), [0, 1]), 2, space)
    assert {row: str(fault) for row, fault in found.faults.items()} == {
        1: "it returned NaN or infinite values"
    }
    with pytest.raises(ProviderError, match="NaN or infinite values for text 1 of 2"):
        check_reply(rows, 2, space)


def failure(error: RequestFailed) -> dict[str, Any]:
    said = ("kind", "said", "damaged", "misnumbered", "answered", "tokens", "timed_out", "lasting")
    return {"message": str(error), **{name: getattr(error, name) for name in said}}


DAMAGED = {
    "kind": "transient",
    "damaged": True,
    "misnumbered": False,
    "answered": True,
    "tokens": 7,
    "timed_out": False,
    "lasting": False,
}
MISFIT = {**DAMAGED, "kind": "misfit"}
NARROW = "openai model m returned vectors of 4 dimensions, the space"
ORDER = "it says of its vectors not each text once, so that they belong to no text for certain"
NOT_A_NUMBER = "it returned NaN or infinite values"


@pytest.mark.parametrize(
    ("rows", "order", "wanted", "message", "said"),
    [
        ([vector(0)], [0], DAMAGED, "it returned 1 vectors for 2 texts", None),
        ([vector(0)] * 2, [0, 0], {**DAMAGED, "misnumbered": True}, ORDER, None),
        ([None] * 2, [0, 1], DAMAGED, "it returned no vector of numbers, and for every text", None),
        ([vector(0) * np.nan] * 2, [0, 1], DAMAGED, f"{NOT_A_NUMBER}, and for every text", None),
        ([vector(0)[:4]] * 2, [0, 1], MISFIT, f"{NARROW} {SPACE.id} has 8; nothing is stored", "4"),
        (
            [vector(0)[:4], vector(0)[:5]],
            [0, 1],
            MISFIT,
            "openai model m returned vectors of 4 and 5 dimensions in one reply, the space "
            f"{SPACE.id} has 8; nothing of it is stored",
            "4",
        ),
    ],
)
def test_a_reply_of_no_use_says_all_that_follows(rows, order, wanted, message, said):
    with pytest.raises(RequestFailed) as caught:
        checked(Reply(rows, 7, order, {}), 2, SPACE)
    width = f"it returned a vector of {said} dimensions, the space {SPACE.id} has 8"
    assert failure(caught.value) == {
        **wanted,
        "message": message,
        "said": width if said else message,
    }


@pytest.mark.parametrize(
    ("vectors", "got"),
    [(np.zeros((2, WIDTH)), 2), (np.zeros((4, WIDTH)), 4), (np.zeros(3), 3), (np.array(1.0), 0)],
)
def test_as_many_vectors_as_texts_or_none(vectors: np.ndarray, got: int):
    with pytest.raises(ProviderError, match=f"returned {got} vectors for 3 texts; nothing is"):
        check_reply(vectors, 3, SPACE)


@pytest.mark.parametrize("element", ["float32", "int8"])
def test_a_checked_reply_is_what_came_in_the_type_of_its_space(element: str):
    space = replace(SPACE, normalized=False, options=(("element", element),))
    came = np.asfortranarray(np.eye(3, WIDTH))
    found = check_reply(came, 3, space)
    assert (found.dtype, found.flags.c_contiguous) == (np.dtype(element), True)
    assert np.array_equal(found, came)


def test_integers_are_whole_and_in_their_range():
    space = replace(SPACE, normalized=False, options=(("element", "int8"),))
    rows = np.zeros((7, WIDTH))
    rows[:, 2] = [127, -128, 128, -129, 0.5, np.nan, 3]
    found = checked(Reply(list(rows), 1, [None] * 7, {}), 7, space)
    assert {at: str(fault) for at, fault in found.faults.items()} == dict.fromkeys(
        (2, 3, 4, 5), "it returned values that are no int8"
    )
    assert found.vectors[:, 2].tolist() == [127, -128, 0, 0, 0, 0, 3]


@pytest.mark.parametrize("normalized", [True, False])
def test_a_vector_of_another_length_is_told_with_its_reason(normalized: bool):
    rows = np.stack([vector(0), vector(1) * 1.5, vector(2)])
    space = replace(SPACE, normalized=normalized)
    found = checked(Reply(list(rows), 1, [None] * 3, {}), 3, space)
    said = "it returned a vector of length 1.5000, but its space promises unit length"
    assert {at: str(fault) for at, fault in found.faults.items()} == (
        {1: said} if normalized else {}
    )


def test_vectors_of_nothing_but_zeros_are_refused_and_no_others():
    vectors = np.zeros((5, WIDTH), np.float32)
    vectors[0, 3] = vectors[4, 0] = 1
    refused = {1: Refusal("by its provider")}
    reply = Embeddings(vectors, refused=refused, unfinished=frozenset([2]), cut=frozenset([4]))
    found = without_zeros(reply)
    assert found.refused.keys() == {1, 3}
    assert found.refused[1] == Refusal("by its provider")
    assert "nothing but zeros" in found.refused[3].reason
    assert replace(found, refused=refused) == reply
    for same in (Embeddings(vectors[:1]), Embeddings(np.zeros((2, WIDTH), np.int8))):
        assert without_zeros(same) is same


def answer(status: int, body: bytes, **settings: Any) -> Reply:
    return read_answer(status, {"a": "b"}, body, variable="KEY", key="secret", texts=[], **settings)


def test_what_is_answered_is_read_as_it_came():
    data = [{"embedding": [1, 2], "index": 1}, {"index": "0"}]
    body = json.dumps({"data": data, "usage": {"total_tokens": 5}}).encode()
    for status in (200, 299):
        found = answer(status, body)
        assert found.rows[0].tolist() == [1, 2]
        assert found.rows[1] is None
        assert (found.order, found.headers, found.tokens) == ([1, 0], {"a": "b"}, 5)
    shifted = answer(200, body, offset=-128)
    assert (shifted.rows[0].tolist(), shifted.rows[1]) == ([-127, -126], None)
    packed = base64.b64encode(bytes([1, 255])).decode()
    found = answer(200, f'{{"data": [{{"embedding": "{packed}"}}]}}'.encode(), kind="i1", offset=1)
    assert found.rows[0].tolist() == [2, 0]


@pytest.mark.parametrize("status", [199, 300, 503])
def test_only_a_success_holds_vectors(status: int):
    with pytest.raises(RequestFailed) as caught:
        answer(status, b'{"data": [{"embedding": [1, 2]}]}')
    assert f"{status}" in str(caught.value)


@pytest.mark.parametrize("body", [b" {", b"[1,", b"{}}"])
def test_an_answer_that_breaks_off_was_an_answer(body: bytes):
    with pytest.raises(RequestFailed) as caught:
        answer(200, body)
    assert failure(caught.value) == {
        **DAMAGED,
        "tokens": None,
        "message": "the reply cannot be read (JSONDecodeError)",
        "said": "the reply cannot be read (JSONDecodeError)",
    }


@pytest.mark.parametrize("body", [b'{"data": 3}', b'[{"data": []}]', b'{"data": [], "error": "x"}'])
def test_an_answer_without_vectors_is_an_error(body: bytes):
    with pytest.raises(RequestFailed):
        answer(200, body)
    assert answer(200, b'{"data": []}').rows == []
    assert len(answer(200, b'{"data": [{}], "error": "of one"}').rows) == 1


class Plain(Embedder):
    """Embeds one list of texts after the other, as a local model does."""

    def embed(self, texts: Any, *, input_type: Any) -> Embeddings:
        if "bad" in texts:
            raise ProviderError("it failed")
        assert input_type == "document"
        return Embeddings(np.full((len(texts), WIDTH), len(texts), np.float32))


def test_batches_come_with_their_keys_and_an_error_with_that_of_its_batch():
    came = Plain(SPACE, Facts("m", "")).embed_batches([(1, ["a"]), (2, ["b", "c"]), (3, ["bad"])])
    assert [(key, len(reply.vectors)) for key, reply in (next(came), next(came))] == [
        (1, 1),
        (2, 2),
    ]
    with pytest.raises(ProviderError, match=r"^it failed \(embedding batch 3\)$"):
        next(came)


def test_what_is_too_large_becomes_infinite_and_integers_stay_as_they_came():
    wide = np.asfortranarray([[1e39, 1.0], [0.5, 2.0]])
    found = converted(wide, SPACE)
    assert (found.dtype, found.flags.c_contiguous) == (np.dtype("float32"), True)
    assert found.tolist() == [[np.inf, 1.0], [0.5, 2.0]]
    whole = replace(SPACE, normalized=False, options=(("element", "int8"),))
    assert converted(wide, whole).tolist() == wide.tolist()


def test_rows_are_read_whatever_they_are():
    packed = base64.b64encode(np.array([1, 2], "<f4").tobytes()).decode()
    rows = [
        3,
        {"embedding": packed, "index": 1.0},
        {"embedding": packed[:4] + "!" + packed[4:], "index": "7"},
        {"embedding": [1, 2], "index": 1.5},
        {"embedding": [[1, 2]], "index": "x"},
    ]
    vectors, order = read_rows(rows)
    assert order == [None, 1, 7, None, None]
    assert [row is None for row in vectors] == [True, False, True, False, True]
    assert vectors[1].tolist() == vectors[3].tolist() == decoded(packed).tolist() == [1, 2]
