"""Local models through sentence-transformers."""

import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from pydantic import Field

from resources.core import warm
from resources.core.errors import ConfigurationError, ProviderError
from resources.core.progress import doing
from resources.core.space import EmbeddingSpace
from resources.embedders.base import (
    Embedder,
    Embeddings,
    InputType,
    Refusal,
    RefusedQuery,
    Usage,
    check_reply,
)
from resources.embedders.batch.jobs import Jobs
from resources.embedders.facts import Facts
from resources.embedders.journal import Journal
from resources.embedders.provider import Provider
from resources.embedders.quota import SharedQuota
from resources.models import catalogue
from resources.models.cutting import LAYER_NORM
from resources.models.model_folder import ModelFolder, confirm_model, find_model

# The names sentence-transformers itself tries for documents, in its order.
_PROMPT_NAMES: dict[InputType, tuple[str, ...]] = {
    "document": ("document", "passage", "corpus"),
    "query": ("query",),
}

# Families that were trained with prompts, for members that the catalogue does not know. Their
# instruction-tuned members take another kind of prompt.
_FAMILIES = {
    r"(multilingual-)?e5-(?!.*instruct)": catalogue.Prompts(document="passage: ", query="query: "),
    r"nomic-embed-text-": catalogue.Prompts(document="search_document: ", query="search_query: "),
}
_SOME_PROMPTS = catalogue.Prompts(document="...", query="...")

_BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino"}

# A static model spends most of a small pass on calls: 512 texts and more are twice as fast as 32.
_BATCH_SIZE, _STATIC_BATCH_SIZE = 32, 1024

KEPT_MODELS = 2
"""That a process keeps which stays: of what serves, and of what is built beside it."""


class SentenceTransformersProvider(Provider):
    """A model that runs in this process: no key, no cost per token."""

    kind: Literal["sentence_transformers"] = "sentence_transformers"
    model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        min_length=1,
        description="A name on the model hub, or a folder.",
    )
    revision: str | None = Field(
        default=None, description="Branch, tag or commit on the hub; pin a commit in production."
    )
    document_prompt: str | None = Field(
        default=None,
        description="Put before every document; default: the model's own, else the catalogue's.",
    )
    query_prompt: str | None = Field(
        default=None, description="Put before every query; default likewise."
    )
    dimensions: int | None = Field(
        default=None, ge=1, description="Keep the leading dimensions only (matryoshka models)."
    )
    normalize: bool = Field(default=True, description="Give every vector unit length.")
    batch_size: int | None = Field(
        default=None, ge=1, description="Texts per forward pass; default: 32, static models 1024."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Read at most this many tokens; default: the model's own."
    )
    truncate: bool = Field(
        default=False,
        description="Cut a text that is longer than the model reads; else it goes to quarantine.",
    )
    device: str = Field(
        default="auto",
        description="auto (CUDA, then MPS, then CPU), cpu, cuda, mps, …; several with commas "
        "(`cuda:0,cuda:1`) embed documents in a process each.",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="float32", description="Precision of the model's weights; vectors are float32."
    )
    backend: Literal["torch", "onnx", "openvino"] = Field(
        default="torch", description="onnx and openvino need `sentence-transformers[onnx]` etc."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that comes with the model."
    )

    @property
    def devices(self) -> list[str]:
        return [name.strip() for name in self.device.split(",") if name.strip()]

    def find(self) -> ModelFolder:
        return find_model(self.model, self.revision, self.backend)

    @property
    def truncates(self) -> bool:
        return self.truncate

    def space(self) -> EmbeddingSpace:
        """The space, from the model's files where they say enough; else the model is loaded.

        Raises:
            ConfigurationError: The model lacks a prompt that it needs, or is not that wide.
        """
        folder = self.find()
        self._check_prompts(folder)
        width = folder.dimensions
        if width is None:
            width = _width(self.load(folder))
        if self.dimensions is not None and self.dimensions > width:
            raise ConfigurationError(
                f"model {self.model} has {width} dimensions: `dimensions: {self.dimensions}` "
                "cannot be had"
            )
        options: dict[str, Any] = {"max_tokens": self.max_tokens} if self.max_tokens else {}
        if self.layer_norm(folder):
            options["layer_norm"] = True
        return EmbeddingSpace(
            provider=self.kind,
            model=self.space_name or catalogue.family(self.kind, folder.name),
            # Other weights make the same vectors, where `space` says so.
            revision="" if self.space_name else folder.revision,
            dimensions=self.dimensions or width,
            document_prompt=self.prompt("document", folder),
            normalized=self.normalize,
            options=tuple(sorted(options.items())),
        )

    def prompt(self, input_type: InputType, folder: ModelFolder) -> str:
        """What stands before a text: configured, else the model's own, else the catalogue's."""
        configured = self.query_prompt if input_type == "query" else self.document_prompt
        if configured is not None:
            return configured
        named = [name for name in _PROMPT_NAMES[input_type] if name in folder.prompts]
        own = folder.prompts[named[0]] if named else folder.default_prompt
        entry = catalogue.find(self.kind, folder.name)
        known = getattr(entry.prompts, input_type) if entry and entry.prompts else ""
        return own or known

    def _check_prompts(self, folder: ModelFolder) -> None:
        configured = {"document": self.document_prompt, "query": self.query_prompt}
        missing = [
            f'`{kind}_prompt: "{prompt}"`'
            for kind, prompt in _required_prompts(folder.name)
            if configured[kind] is None and not self.prompt(kind, folder)
        ]
        if missing:
            raise ConfigurationError(
                f"model {self.model} needs a prompt before its texts, and neither its files nor "
                f'the catalogue have one: set {" and ".join(missing)}, or "" to do without'
            )

    def layer_norm(self, folder: ModelFolder) -> bool:
        """Whether values are normalised over the whole vector before its end is cut off."""
        return self.dimensions is not None and folder.name.split("/")[-1] in LAYER_NORM

    def load(self, folder: ModelFolder) -> Any:
        """The loaded `SentenceTransformer`, on the first device where there are several.

        Raises:
            ConfigurationError: The model cannot read `max_tokens` tokens.
            ProviderError: The model's files, the device or the backend do not allow it.
        """
        check_backend(self.backend)
        made = (self.model_dump_json(), str(folder.path), folder.revision)
        with doing(f"loading {self.model}"):
            return warm.kept("model", made, lambda: self._load(folder), most=KEPT_MODELS)

    def _load(self, folder: ModelFolder) -> Any:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        # Its bar over the weights would be drawn into the run's log.
        transformers_logging.disable_progress_bar()
        options: dict[str, Any] = {} if self.backend != "torch" else {"dtype": self.dtype}
        devices = self.devices
        try:
            for name in devices if len(devices) > 1 else ():
                torch.empty(0, device=name)  # else a worker process would fail, later
            model = SentenceTransformer(
                str(folder.path),
                device=devices[0] if devices and devices != ["auto"] else None,
                backend=self.backend,
                trust_remote_code=self.trust_remote_code,
                truncate_dim=None if self.layer_norm(folder) else self.dimensions,
                model_kwargs=options,
            )
        except Exception as error:  # tokenizers, safetensors and torch each raise their own
            raise ProviderError(
                f"model {self.model} cannot be loaded from {folder.origin} on device "
                f"{self.device!r}, backend {self.backend!r}: {first_line(error)}"
            ) from error
        model.default_prompt_name = None  # `prompt` decides
        if self.max_tokens is not None:
            reads = positions(model)
            if reads is not None and self.max_tokens > reads:
                raise ConfigurationError(
                    f"model {self.model} has positions for {reads} tokens: "
                    f"`max_tokens: {self.max_tokens}` cannot be had"
                )
            if _limit(model) is not None:  # a static model reads everything
                model.max_seq_length = self.max_tokens
        return model

    def facts(self) -> Facts:
        settings = {"truncate": self.truncate}
        return Facts.of(self.space(), self.find().name, settings, truncates=self.truncate)

    def query_settings(self) -> Sequence[Any]:
        return [*super().query_settings(), self.prompt("query", self.find())]

    def check(self) -> str:
        folder = self.find()
        self.load(folder)
        return (
            f"{folder.name} from {folder.origin}, revision {folder.revision}, "
            f"{self.space().dimensions} dimensions"
        )

    def confirm(self) -> str:
        return confirm_model(self.model, self.revision)

    def open(
        self,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> "SentenceTransformersEmbedder":
        return SentenceTransformersEmbedder(self)


class SentenceTransformersEmbedder(Embedder):
    """Loads its model at the first text, so that a run with nothing to embed loads nothing."""

    def __init__(self, provider: SentenceTransformersProvider) -> None:
        super().__init__(provider.space(), provider.facts())
        self._provider = provider
        self._folder = provider.find()
        self._loaded: Any = None
        self._pool: Any = None

    def share(self, quota: SharedQuota, most_tokens: int | None) -> None:
        """It sends no requests: there is nothing to keep."""

    def prepare(self) -> None:
        self._model()

    def embed(self, texts: Sequence[str], *, input_type: InputType) -> Embeddings:
        """Embed the texts; one that is longer than the model reads is refused, not cut.

        Raises:
            ProviderError: Also for a query that is too long: nobody looks for it in quarantine.
        """
        prompt = self._provider.prompt(input_type, self._folder)
        limit = _limit(self._model())
        whole = [prompt + text for text in texts]
        short = limit is None or (input_type == "query" and _surely_fit(whole, limit))
        tokens = None if short else self._count_tokens(whole)
        long = np.zeros(len(texts), bool) if tokens is None else tokens > limit
        refused: dict[int, Refusal] = {}
        if tokens is not None and not self._provider.truncate:
            refused = {
                int(at): Refusal(self._too_long(int(tokens[at]))) for at in np.flatnonzero(long)
            }
            self.progressed(len(refused))
        kept = np.array([at for at in range(len(texts)) if at not in refused], dtype=np.intp)
        vectors = np.zeros((len(texts), self.space.dimensions), np.float32)
        if len(kept):
            lengths = None if tokens is None else tokens[kept]
            found = self._encode([texts[int(at)] for at in kept], lengths, prompt, input_type)
            vectors[kept] = check_reply(found, len(kept), self.space)
        usage = Usage(
            requests=min(len(kept), 1),
            tokens=None if tokens is None else int(np.clip(tokens[kept], 0, limit).sum()),
            truncated=int(long[kept].sum()),
        )
        cut = frozenset(int(at) for at in kept[long[kept]])
        reply = Embeddings(vectors, tokens, usage, refused, cut=cut)
        if refused and input_type == "query":
            raise RefusedQuery(f"the query {next(iter(refused.values())).reason}", reply)
        return reply

    def _too_long(self, tokens: int) -> str:
        model = self._model()
        limit, most = _limit(model), positions(model)
        ways = ["chunk it"]
        if most is None:
            ways.append("raise `max_tokens`")
        elif limit is not None and limit < most:
            ways.append(f"raise `max_tokens` (at most {most})")
        return (
            f"has {tokens} tokens, the model reads {limit}: {', '.join(ways)}, "
            "or set `truncate: true`"
        )

    def _encode(
        self, texts: list[str], tokens: np.ndarray | None, prompt: str, input_type: InputType
    ) -> np.ndarray:
        """Vectors of the texts, in their order.

        A pass is as long as its longest text: texts of like token counts go together, a tenth less
        work than `encode` has, which goes by characters.
        """
        model, provider = self._model(), self._provider
        layer_norm = provider.layer_norm(self._folder)
        size = provider.batch_size or (_STATIC_BATCH_SIZE if tokens is None else _BATCH_SIZE)
        options: dict[str, Any] = {
            "prompt": prompt or None,
            "batch_size": size,
            "normalize_embeddings": provider.normalize and not layer_norm,
            "show_progress_bar": False,
        }
        try:
            if len(provider.devices) > 1 and input_type == "document":
                if self._pool is None:
                    self._pool = model.start_multi_process_pool(provider.devices)
                options |= {"pool": self._pool, "chunk_size": None if tokens is None else size}
            if tokens is None:
                vectors = np.asarray(model.encode(texts, **options))
            else:
                order = np.argsort(-tokens, kind="stable")
                step = len(order) if "pool" in options else size
                parts = [order[first : first + step] for first in range(0, len(order), step)]
                found = []
                for part in parts:
                    found.append(model.encode([texts[at] for at in part], **options))
                    self.progressed(len(part))
                vectors = np.empty_like(np.concatenate(found))
                vectors[order] = np.concatenate(found)
        except RuntimeError as error:
            if "died unexpectedly" in str(error):
                raise ProviderError(
                    f"a process that embeds on {provider.device} has ended: {first_line(error)}"
                ) from error
            if "out of memory" not in str(error).lower():
                raise
            raise ProviderError(
                f"device {provider.device} has too little memory for batch_size {size}: lower "
                "it, or `max_tokens`"
            ) from error
        return self._cut(vectors) if layer_norm else vectors

    def _cut(self, vectors: np.ndarray) -> np.ndarray:
        vectors = vectors.astype(np.float32)
        deviation = np.sqrt(vectors.var(axis=1, keepdims=True) + 1e-5)
        vectors = (vectors - vectors.mean(axis=1, keepdims=True)) / deviation
        vectors = vectors[:, : self.space.dimensions]
        if self._provider.normalize:
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        return vectors

    def versions(self) -> dict[str, str]:
        devices = self._provider.devices
        return _packages() | {
            "device": ",".join(devices) if len(devices) > 1 else str(self._model().device),
            "backend": self._provider.backend,
            "dtype": self._provider.dtype,
        }

    def close(self) -> None:
        if self._pool is not None:
            self._loaded.stop_multi_process_pool(self._pool)
        self._loaded = self._pool = None

    def _model(self) -> Any:
        if self._loaded is None:
            self._loaded = self._provider.load(self._folder)
        return self._loaded

    def _count_tokens(self, texts: list[str]) -> np.ndarray | None:
        """Tokens per text, before truncation; None where the model's tokenizer does not say."""
        tokenizer: Any = getattr(self._model(), "tokenizer", None)
        if not texts or not callable(tokenizer):
            return None
        encoded: Any = tokenizer(
            texts,
            truncation=False,
            padding=False,
            verbose=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int32)


_AROUND = 16
"""Tokens that a model puts around a text, at most."""


def _surely_fit(texts: Sequence[str], limit: int) -> bool:
    """Whether no text can be longer than that, which is known without counting.

    Of ASCII a token is a character at least; other characters may be taken apart before.
    """
    return all(text.isascii() and len(text) + _AROUND <= limit for text in texts)


@cache
def _packages() -> dict[str, str]:
    names = ("sentence-transformers", "transformers", "torch")
    return {name: importlib.metadata.version(name) for name in names}


def _required_prompts(name: str) -> list[tuple[InputType, str]]:
    """What the model cannot do without, as the catalogue says or else its family's name."""
    entry = catalogue.find("sentence_transformers", name)
    if entry is not None and not entry.prompts_required:
        return []
    short = name.split("/")[-1]
    of_family = (p for pattern, p in _FAMILIES.items() if re.match(pattern, short, re.IGNORECASE))
    prompts = next(of_family, entry and entry.prompts)
    if prompts is None:
        return []
    if not prompts.document and not prompts.query:
        prompts = _SOME_PROMPTS
    kinds: tuple[InputType, InputType] = ("document", "query")
    return [(kind, getattr(prompts, kind)) for kind in kinds if getattr(prompts, kind)]


def _limit(model: Any) -> int | None:
    """Tokens that the model reads of a text; None for all, as static embeddings do.

    Of those, tokenizing is all the work, and counting would do it twice.
    """
    limit = model.max_seq_length
    return None if limit is None or limit == float("inf") else int(limit)


def check_backend(backend: str) -> None:
    """Refuse one whose packages are not there.

    Raises:
        ProviderError: With how to install them.
    """
    runtime = _BACKENDS.get(backend)
    if runtime and not all(map(importlib.util.find_spec, ("optimum", runtime))):
        raise ProviderError(
            f"backend {backend!r} is not installed: pip install 'sentence-transformers[{backend}]'"
        )


def positions(model: Any) -> int | None:
    """Tokens that the model has position embeddings for; None where its kind has no such table."""
    for module in model.modules():
        table: Any = getattr(module, "position_embeddings", None)
        if hasattr(table, "num_embeddings"):
            # RoBERTa and its like count from behind the padding's position.
            unused = 0 if table.padding_idx is None else table.padding_idx + 1
            return table.num_embeddings - unused
    return None


def _width(model: Any) -> int:
    measure = getattr(model, "get_embedding_dimension", None)
    return int((measure or model.get_sentence_embedding_dimension)())


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
