"""Local models through sentence-transformers."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from resources.config import StrictConfig
from resources.embedders.base import Embedder, Embeddings, InputType, Usage, check_reply
from resources.embedders.model_folder import ModelFolder, find_model
from resources.embedders.space import EmbeddingSpace
from resources.errors import ConfigurationError, ProviderError

# The names sentence-transformers itself tries for documents, in its order.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


class SentenceTransformersProvider(StrictConfig):
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
        default=None, description="Put before every document; default: the model's own."
    )
    query_prompt: str | None = Field(
        default=None, description="Put before every query; default: the model's own."
    )
    dimensions: int | None = Field(
        default=None, ge=1, description="Keep the leading dimensions only (matryoshka models)."
    )
    normalize: bool = Field(default=True, description="Give every vector unit length.")
    batch_size: int = Field(default=32, ge=1, description="Texts per forward pass.")
    max_tokens: int | None = Field(
        default=None, ge=1, description="Read at most this many tokens; default: the model's own."
    )
    device: str = Field(
        default="auto", description="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps, …"
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

    def find(self) -> ModelFolder:
        return find_model(self.model, self.revision)

    def space(self) -> EmbeddingSpace:
        """The space, from the model's files where they say enough; else the model is loaded."""
        folder = self.find()
        width = folder.dimensions
        if width is None:
            width = _width(self.load(folder))
        if self.dimensions is not None and self.dimensions > width:
            raise ConfigurationError(
                f"model {self.model} has {width} dimensions: `dimensions: {self.dimensions}` "
                "cannot be had"
            )
        options = {"max_tokens": self.max_tokens} if self.max_tokens else {}
        return EmbeddingSpace(
            provider=self.kind,
            model=folder.name,
            revision=folder.revision,
            dimensions=self.dimensions or width,
            document_prompt=self.prompt("document", folder),
            normalized=self.normalize,
            options=tuple(sorted(options.items())),
        )

    def prompt(self, input_type: InputType, folder: ModelFolder) -> str:
        """What stands before a text: configured, else the model's own, else nothing."""
        configured = self.query_prompt if input_type == "query" else self.document_prompt
        if configured is not None:
            return configured
        names = ("query",) if input_type == "query" else _DOCUMENT_PROMPTS
        return next((folder.prompts[name] for name in names if folder.prompts.get(name)), "")

    def load(self, folder: ModelFolder) -> Any:
        """The loaded `SentenceTransformer`.

        Raises:
            ProviderError: The model's files or the device do not allow it.
        """
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        # Its bar over the weights would be drawn into the run's log.
        transformers_logging.disable_progress_bar()
        options: dict[str, Any] = {} if self.backend != "torch" else {"dtype": self.dtype}
        try:
            model = SentenceTransformer(
                str(folder.path),
                device=None if self.device == "auto" else self.device,
                backend=self.backend,
                trust_remote_code=self.trust_remote_code,
                truncate_dim=self.dimensions,
                model_kwargs=options,
            )
        except Exception as error:  # tokenizers, safetensors and torch each raise their own
            raise ProviderError(
                f"model {self.model} cannot be loaded from {folder.origin} on device "
                f"{self.device!r}, backend {self.backend!r}: {first_line(error)}"
            ) from error
        if self.max_tokens is not None:
            model.max_seq_length = self.max_tokens
        return model

    def open(self) -> "SentenceTransformersEmbedder":
        return SentenceTransformersEmbedder(self)


class SentenceTransformersEmbedder(Embedder):
    """Loads its model at the first text, so that a run with nothing to embed loads nothing."""

    def __init__(self, provider: SentenceTransformersProvider) -> None:
        self._provider = provider
        self._folder = provider.find()
        self._loaded: Any = None
        self.space = provider.space()
        self.model = self._folder.name

    def embed(self, texts: Sequence[str], *, input_type: InputType) -> Embeddings:
        model = self._model()
        prompt = self._provider.prompt(input_type, self._folder)
        try:
            vectors = model.encode(
                list(texts),
                prompt=prompt or None,
                batch_size=self._provider.batch_size,
                normalize_embeddings=self._provider.normalize,
                show_progress_bar=False,
            )
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
            raise ProviderError(
                f"device {model.device} has too little memory for batch_size "
                f"{self._provider.batch_size}: lower it, or `max_tokens`"
            ) from error
        vectors = check_reply(np.asarray(vectors), len(texts), self.space)
        tokens = self._count_tokens([prompt + text for text in texts])
        if tokens is None:
            return Embeddings(vectors, usage=Usage(requests=1))
        limit = model.max_seq_length
        cut = int((tokens > limit).sum()) if limit else 0
        read = np.minimum(tokens, limit) if limit else tokens
        return Embeddings(vectors, tokens, Usage(requests=1, tokens=int(read.sum()), truncated=cut))

    def versions(self) -> dict[str, str]:
        names = ("sentence-transformers", "transformers", "torch")
        return {name: importlib.metadata.version(name) for name in names} | {
            "device": str(self._model().device),
            "backend": self._provider.backend,
            "dtype": self._provider.dtype,
        }

    def close(self) -> None:
        self._loaded = None

    def _model(self) -> Any:
        if self._loaded is None:
            self._loaded = self._provider.load(self._folder)
        return self._loaded

    def _count_tokens(self, texts: list[str]) -> np.ndarray | None:
        """Tokens per text, before truncation.

        None for static embeddings, where tokenizing is all the work and would be done twice.
        """
        model = self._model()
        tokenizer: Any = getattr(model, "tokenizer", None)
        if type(model[0]).__name__ != "Transformer" or not callable(tokenizer):
            return None
        encoded: Any = tokenizer(texts, truncation=False, padding=False, verbose=False)
        return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int32)


def _width(model: Any) -> int:
    measure = getattr(model, "get_embedding_dimension", None)
    return int((measure or model.get_sentence_embedding_dimension)())


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
