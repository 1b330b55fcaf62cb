"""The embedding space: what makes two vectors comparable, and its readable id."""

import dataclasses
import hashlib
import json
import re
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from resources.core.errors import ConfigurationError
from resources.core.vectors import Element, width

SPACE_ID = r"[a-z0-9-]*-[0-9]+-[0-9a-f]{8}"
"""What ids of spaces look like, as a regular expression."""


@dataclasses.dataclass(frozen=True)
class EmbeddingSpace:
    """Two vectors may be compared exactly if their spaces are equal.

    The query prompt is not part of it: it decides how a question is put, not what the stored
    vectors mean, so changing it re-embeds nothing.

    Attributes:
        provider: `sentence_transformers`, `voyage`, `openai`.
        model: The model, or the family whose members share one space.
        revision: Which weights: the first 12 hex digits of their SHA-256 for a local model, the
            provider's version string where it has one, else empty.
        dimensions: Width of a vector.
        document_prompt: What goes before a document's text, or the provider's input type.
        normalized: Whether vectors have unit length.
        options: Anything else that changes the vectors, as sorted (name, value) pairs.
    """

    provider: str
    model: str
    revision: str
    dimensions: int
    document_prompt: str
    normalized: bool
    options: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def id(self) -> str:
        """Readable, deterministic and safe as a field path: `all-minilm-l6-v2-384-1f0c9a7b`."""
        meaning = json.dumps(self.to_document(), sort_keys=True, ensure_ascii=True)
        digest = hashlib.sha256(meaning.encode()).hexdigest()[:8]
        name = re.sub(r"[^a-z0-9]+", "-", self.model.split("/")[-1].lower()).strip("-")
        return f"{name}-{self.dimensions}-{digest}"

    @property
    def element(self) -> Element:
        """Type of the numbers that the provider returns."""
        return dict(self.options).get("element", "float32")

    @property
    def width(self) -> int:
        """Columns of an array of such vectors."""
        return width(self.element, self.dimensions)

    @property
    def endpoint(self) -> str:
        """The server that makes the vectors, where its name is part of the space; else empty."""
        return dict(self.options).get("endpoint", "")

    def without_endpoint(self) -> "EmbeddingSpace":
        """The space as it was called before servers were told apart."""
        options = tuple(pair for pair in self.options if pair[0] != "endpoint")
        return dataclasses.replace(self, options=options)

    def to_document(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "options": dict(self.options)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "EmbeddingSpace":
        names = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in document.items() if name in names}
        values["options"] = tuple(sorted(values.get("options", {}).items()))
        return cls(**values)

    def difference(self, other: "EmbeddingSpace") -> str:
        """What differs, for people: `model a, not b; dimensions 384, not 768`."""
        mine, theirs = self.to_document(), other.to_document()
        return "; ".join(
            f"{name.replace('_', ' ')} {mine[name]!r}, not {theirs[name]!r}"
            for name in mine
            if mine[name] != theirs[name]
        )


_PORTS = {"http": 80, "https": 443}


def endpoint(url: str) -> str:
    """A server's address in one spelling, without credentials and query."""
    try:
        parts = urlsplit(url.strip())
        number = parts.port
    except ValueError as error:
        raise ConfigurationError(f"`base_url: {url}` is no address of a server: {error}") from error
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = "" if number in (None, _PORTS.get(scheme)) else f":{number}"
    path = "/".join(part for part in parts.path.split("/") if part)
    return f"{scheme}://{host}{port}" + (f"/{path}" if path else "")
