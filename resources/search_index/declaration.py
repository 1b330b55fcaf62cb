"""What an index is declared to be, and what of it cannot be served."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from resources.core.config import StrictConfig, StrictResource
from resources.core.errors import ConfigurationError
from resources.core.lineage import lineage_path, rescore_path
from resources.core.space import EmbeddingSpace
from resources.core.vectors import (
    Dtype,
    Quantization,
    Similarity,
    check_dimensions,
    check_dtype,
)
from resources.sources.fields import check_path, inside, overlap

EXACT_BELOW = 50_000
"""From benchmarks/local_index.py on two cores: comparing with all takes some 4 ms at 384 dimensions
(so some 12 ms at 1024) and needs no graph, whose building is the slow part."""


class TextDeclaration(StrictConfig):
    """Full text beside the vectors: searches by words, and by both."""

    fields: list[str] = Field(
        default=[], description="Fields to be searched. Default: where the embedded text is."
    )
    analyzer: str = Field(
        default="lucene.standard", min_length=1, description="Of the search index (mongodb)."
    )
    tokenizer: Literal["unicode61", "porter", "trigram"] = Field(
        default="unicode61",
        description="How texts become words (local). porter: by their English stems; trigram: by "
        "three letters, for languages that put no spaces between words.",
    )
    fusion: Literal["rank", "score"] = Field(
        default="rank",
        description="What `hybrid` adds up: places in both lists, or (mongodb, from 8.3 on) the "
        "scores, each brought to 0..1.",
    )


class IndexDeclaration(StrictResource):
    """How an index compares vectors, and what searches may filter by."""

    engine: Literal["auto", "mongodb", "local"] = Field(
        default="auto",
        description="mongodb: `$vectorSearch`, which needs search nodes. local: an index file "
        "built from the stored vectors. auto: mongodb where the deployment offers it, else local.",
    )
    name: str = Field(
        default="vector_index",
        min_length=1,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Of the index, on the server or in the batch store.",
    )
    similarity: Similarity = Field(
        default="dotProduct", description="dotProduct needs vectors of unit length."
    )
    quantization: Quantization = Field(
        default="none", description="What the server does to float vectors by itself (mongodb)."
    )
    filter_fields: list[str] = Field(
        default=[], description="Fields that searches may filter by; dots are allowed."
    )
    text: TextDeclaration | None = Field(
        default=None, description="Also searched by words: `mode: text` and `hybrid`."
    )
    indexing_method: Literal["hnsw", "flat"] = Field(
        default="hnsw", description="flat: every search compares with all vectors (mongodb)."
    )
    exact_below: int = Field(
        default=EXACT_BELOW,
        ge=0,
        description="Up to this many vectors every search compares with all of them (local).",
    )
    max_edges: int = Field(default=16, ge=16, le=64, description="HNSW: edges per vector.")
    num_edge_candidates: int = Field(
        default=100, ge=100, le=3200, description="HNSW: candidates considered while building."
    )
    stored_source_include: list[str] = Field(
        default=[], description="Fields that search nodes keep a copy of (mongodb)."
    )
    stored_source_exclude: list[str] = Field(
        default=[], description="They keep a copy of all fields but these (mongodb)."
    )
    return_stored_source: bool = Field(
        default=False,
        description="Searches answer from that copy, without a look-up in the collection: faster "
        "of large documents, and behind a write for as long as the search nodes are (mongodb).",
    )
    timeout_seconds: float = Field(
        default=3600, gt=0, description="How long a run waits for the index to serve (mongodb)."
    )
    poll_seconds: float = Field(
        default=5, gt=0, description="How often it asks meanwhile (mongodb)."
    )

    def check(self, space: EmbeddingSpace, dtype: Dtype, path: str) -> None:
        """Refuse a declaration that cannot serve vectors of this space, stored like this.

        Raises:
            ConfigurationError: As `check_declared`; dotProduct over vectors that are not of unit
                length; a width that no index can have.
        """
        self.check_declared(dtype, path)
        check_dimensions(space.dimensions, dtype, self.quantization)
        if self.similarity == "dotProduct" and not space.normalized:
            raise ConfigurationError(
                f"search_index has `similarity: dotProduct`, which needs unit length, but the "
                f"space {space.id} is not normalized: choose cosine, or normalize the embeddings"
            )

    def check_declared(self, dtype: Dtype | None, path: str) -> None:
        """Refuse settings that contradict each other, before anything is known of the vectors.

        Args:
            dtype: Of the stored vectors; None where the provider decides it.
            path: Where they are stored.

        Raises:
            ConfigurationError: A similarity or a quantization that does not go with the dtype; a
                filter or a text over the vectors themselves; settings that exclude each other.
        """
        self._check_text(path)
        if path in self.filter_fields:
            raise ConfigurationError(
                f"search_index has {path!r} among its `filter_fields`, where the vectors are: "
                "remove it"
            )
        if dtype is not None:
            check_dtype(dtype, self.similarity, self.quantization)
        if self.indexing_method == "flat" and (self.max_edges, self.num_edge_candidates) != (
            16,
            100,
        ):
            raise ConfigurationError(
                "search_index has `indexing_method: flat`, which builds no graph: remove "
                "`max_edges` and `num_edge_candidates`"
            )
        if self.stored_source_include and self.stored_source_exclude:
            raise ConfigurationError(
                "search_index has both `stored_source_include` and `stored_source_exclude`: "
                "remove one of them"
            )
        if any(overlap(path, name) for name in self.stored_source_include):
            raise ConfigurationError(
                f"search_index has {path!r} among its `stored_source_include`, where the vectors "
                "are, of which search nodes keep no second copy: remove it"
            )
        if self.return_stored_source and self.stored_source(path) is None:
            raise ConfigurationError(
                "search_index has `return_stored_source: true`, and nothing is stored: name the "
                "fields in `stored_source_include`, or those to leave out in "
                "`stored_source_exclude`"
            )

    def stored_source(self, path: str) -> dict[str, list[str]] | None:
        """What search nodes keep a copy of, as a definition has it; None for nothing.

        Args:
            path: Of the vectors, which are never among it.
        """
        if self.stored_source_include:
            return {"include": list(self.stored_source_include)}
        if self.stored_source_exclude:
            return {"exclude": list(dict.fromkeys([*self.stored_source_exclude, path]))}
        return None

    def check_stored_source(self, fields: Iterable[str]) -> None:
        """Refuse to answer from a copy that lacks what an answer needs.

        Args:
            fields: That a hit brings along, besides those that are filtered by.

        Raises:
            ConfigurationError: Naming what is missing.
        """
        if not self.return_stored_source:
            return
        source = {"include": self.stored_source_include, "exclude": self.stored_source_exclude}
        lacking = not_stored(source, [*fields, *self.filter_fields])
        if lacking:
            way = "name them in `stored_source_include`"
            if self.stored_source_exclude:
                way = "take them out of `stored_source_exclude`"
            raise ConfigurationError(
                "search_index has `return_stored_source: true`, but what search nodes keep lacks "
                f"{', '.join(lacking)}, which every hit brings along: {way}"
            )

    def _check_text(self, path: str) -> None:
        if self.text is None:
            return
        seen: set[str] = set()
        for name in self.text.fields:
            try:
                check_path(name, "search_index: text.fields")
            except ValueError as error:
                raise ConfigurationError(str(error)) from None
            if name in seen:
                raise ConfigurationError(
                    f"search_index has {name!r} twice among its `text.fields`: remove one of them"
                )
            seen.add(name)
            for taken in (path, lineage_path(path), rescore_path(path)):
                if overlap(name, taken):
                    raise ConfigurationError(
                        f"search_index has {name!r} among its `text.fields`, where the vectors or "
                        f"their lineage are ({taken}): name fields that hold text"
                    )

    def check_stored(self, fields: Iterable[str]) -> None:
        """Refuse texts in fields that the stored documents do not have.

        Args:
            fields: That they have.

        Raises:
            ConfigurationError: Naming the field.
        """
        known = list(fields)
        for name in self.text.fields if self.text else []:
            if not any(name == there or overlap(name, there) for there in known):
                raise ConfigurationError(
                    f"search_index has {name!r} among its `text.fields`, which the stored "
                    f"documents do not have: carry it (`source: {{carry: [{name}]}}`), or name one "
                    f"of {', '.join(known)}"
                )


def not_stored(source: Mapping[str, Any], fields: Iterable[str]) -> list[str]:
    """Those fields, each once, that a stored source does not hold in full.

    Args:
        source: `{include: […]}` or `{exclude: […]}`.
        fields: Dotted paths.
    """
    kept, left = source.get("include") or [], source.get("exclude") or []
    return [
        name
        for name in dict.fromkeys(fields)
        if name != "_id"
        and (
            any(overlap(name, other) for other in left)
            if left
            else not any(name == there or inside(name, there) for there in kept)
        )
    ]
