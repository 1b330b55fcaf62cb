"""Rows of a reply: read whatever way they come, put in order, and checked one by one."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.core.errors import ProviderError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import NUMPY_TYPES
from resources.embedders.base import Fault, check_reply, converted, dimensions, faults
from resources.embedders.failures import RequestFailed, explained, usage_tokens

NO_VECTOR = Fault("no vector of numbers")


@dataclass(frozen=True)
class Reply:
    """One request's answer as the provider gave it.

    Attributes:
        rows: The vectors, as many and as wide as they came; None for one that is not numbers.
        tokens: As billed; None where the provider does not say.
        order: The position that each row claims to answer; None for a row that claims none.
        headers: Of the HTTP response, lower-case names.
    """

    rows: Sequence[np.ndarray | None]
    tokens: int | None
    order: Sequence[Any]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Rows:
    """Checked vectors of some texts, in their order, and what is wrong with those that are not."""

    vectors: np.ndarray
    faults: Mapping[int, Fault]


def read_rows(
    rows: Sequence[Any], kind: str = "<f4"
) -> tuple[list[np.ndarray | None], list[int | None]]:
    """The `data` of a reply as vectors and the positions that they claim."""
    vectors: list[np.ndarray | None] = []
    order: list[int | None] = []
    for row in rows:
        known = row if isinstance(row, Mapping) else {}
        order.append(_position(known.get("index")))
        try:
            vectors.append(decoded(known["embedding"], kind))
        except (KeyError, TypeError, ValueError, OverflowError):
            vectors.append(None)
    return vectors, order


def decoded(embedding: Any, kind: str = "<f4") -> np.ndarray:
    """A row as numbers; some servers know no base64 and send them as they are.

    Args:
        embedding: From the reply.
        kind: NumPy's name of its numbers.

    Raises:
        ValueError, TypeError: It is not a list of numbers.
    """
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype=kind)
    # As they came, so that what does not fit is seen and not cut to size.
    with np.errstate(over="ignore"):
        row = np.asarray(embedding, dtype=np.float32)
    if row.ndim != 1:
        raise ValueError("no list of numbers")
    return row


def _position(index: Any) -> int | None:
    if isinstance(index, str) and index.isdecimal():
        return int(index)
    if isinstance(index, float) and index.is_integer():
        return int(index)
    return index if isinstance(index, int) else None


def checked(reply: Reply, texts: int, space: EmbeddingSpace) -> Rows:
    """The reply's vectors in the order of the texts.

    A row that is at fault costs no other: they were paid for.

    Raises:
        RequestFailed: Nothing of the reply can be used. `misfit` where every row is wrong in the
            way that a wrong setting makes them.
    """
    if len(reply.rows) != texts:
        raise _damaged(reply, f"it returned {len(reply.rows)} vectors for {texts} texts")
    rows = _in_order(reply, texts)
    sound = all(row is not None and len(row) == space.width for row in rows)
    if sound:
        whole = converted(np.array(rows), space)
        wrong = faults(whole, space)
    else:
        kind = NUMPY_TYPES[space.element]
        whole, wrong = np.zeros((texts, space.width), dtype=np.float64), {}
        for at, row in enumerate(rows):
            if row is None or not len(row):
                wrong[at] = NO_VECTOR if row is None else Fault("an empty vector")
            elif len(row) != space.width:
                wrong[at] = Fault(
                    f"a vector of {dimensions(len(row), space)} dimensions",
                    f", the space {space.id} has {space.dimensions}",
                    settings=True,
                )
            else:
                whole[at] = row
        whole = converted(whole, space)
        good = [at for at in range(texts) if at not in wrong]
        found = faults(whole[good], space)
        wrong |= {good[row]: fault for row, fault in found.items()}
        whole[list(wrong)] = 0
        whole = whole.astype(kind)
    if wrong and len(wrong) == texts:
        raise _all_wrong(reply, rows, wrong, space)
    if wrong:
        whole[list(wrong)] = 0
    return Rows(np.ascontiguousarray(whole, dtype=NUMPY_TYPES[space.element]), wrong)


def _in_order(reply: Reply, texts: int) -> Sequence[np.ndarray | None]:
    order = list(reply.order)
    if texts == 1 or all(index in (None, at) for at, index in enumerate(order)):
        return reply.rows
    numbers = [index for index in order if index is not None]
    if len(numbers) == texts and sorted(numbers) in (
        list(range(texts)),
        list(range(1, texts + 1)),  # counted from one
    ):
        return [row for _, row in sorted(zip(numbers, reply.rows, strict=True), key=_first)]
    raise _damaged(
        reply,
        "it says of its vectors not each text once, so that they belong to no text for certain",
        misnumbered=True,
    )


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def _all_wrong(
    reply: Reply,
    rows: Sequence[np.ndarray | None],
    wrong: Mapping[int, Fault],
    space: EmbeddingSpace,
) -> RequestFailed:
    fault = wrong[min(wrong)]
    if not all(fault.settings for fault in wrong.values()):
        return _damaged(reply, str(fault) if len(rows) == 1 else f"{fault}, and for every text")
    widths = sorted({dimensions(len(row), space) for row in rows if row is not None})
    message = (
        f"{space.provider} model {space.model} returned vectors of "
        f"{' and '.join(map(str, widths))} dimensions in one reply, the space {space.id} has "
        f"{space.dimensions}; nothing of it is stored"
    )
    if len(widths) == 1:
        try:
            check_reply(np.array(rows), len(rows), space)
        except ProviderError as error:
            message = str(error)
    return RequestFailed(
        "misfit", message, said=str(fault), damaged=True, answered=True, tokens=reply.tokens
    )


def _damaged(reply: Reply, reason: str, *, misnumbered: bool = False) -> RequestFailed:
    return RequestFailed(
        "transient",
        reason,
        damaged=True,
        misnumbered=misnumbered,
        answered=True,
        tokens=reply.tokens,
    )


def data_of(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    variable: str,
    key: str,
    texts: list[str],
) -> tuple[list[Any], Mapping[str, Any]]:
    """The rows of an answer, unread, and all of its JSON; what follows the body is for errors.

    Raises:
        RequestFailed: The answer has none: see `explained`.
    """
    document: Any = None
    if 200 <= status < 300:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            if body.lstrip()[:1] in (b"{", b"["):
                reason = f"the reply cannot be read ({type(error).__name__})"
                raise RequestFailed("transient", reason, damaged=True, answered=True) from error
    data = document.get("data") if isinstance(document, Mapping) else None
    if not isinstance(data, list) or (not data and document.get("error")):
        raise explained(status, headers, body, variable=variable, key=key, texts=texts)
    return data, document


def read_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    kind: str = "<f4",
    offset: int = 0,
    variable: str,
    key: str,
    texts: list[str],
) -> Reply:
    """What a provider of this protocol answered: numbers of NumPy's `kind`, less the `offset`.

    The rest is for errors, see `explained`.

    Raises:
        RequestFailed: The answer holds no vectors.
    """
    data, document = data_of(status, headers, body, variable=variable, key=key, texts=texts)
    rows, order = read_rows(data, kind)
    if offset:
        rows = [None if row is None else row.astype(np.int16) + offset for row in rows]
    return Reply(rows, usage_tokens(document.get("usage")), order, headers)
