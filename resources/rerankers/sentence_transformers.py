"""Cross-encoders on this machine, through sentence-transformers."""

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from resources.core.errors import ConfigurationError, ProviderError
from resources.embedders.sentence_transformers import check_backend, first_line, positions
from resources.models.model_folder import ModelFolder, find_model
from resources.rerankers.base import Candidate, Scored, TextReranker
from resources.rerankers.facts import Facts
from resources.rerankers.meter import Meter
from resources.rerankers.provider import RerankerProvider, Stored

# Heads that give a pair of texts a score; of another model a head would be made up at random.
_HEADS = ("ForSequenceClassification", "ForCausalLM")


class SentenceTransformersReranking(RerankerProvider):
    """A cross-encoder that runs in this process: no key, no cost per token."""

    kind: Literal["sentence_transformers"] = "sentence_transformers"
    model: str = Field(
        default="cross-encoder/ms-marco-MiniLM-L6-v2",
        min_length=1,
        description="A name on the model hub, or a folder.",
    )
    revision: str | None = Field(
        default=None, description="Branch, tag or commit on the hub; pin a commit in production."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Read at most this many tokens of query and text together, which are cut to "
        "that; default: the model's own.",
    )
    batch_size: int = Field(default=32, ge=1, description="Texts per forward pass.")
    device: str = Field(default="auto", description="auto (CUDA, then MPS, then CPU), cpu, cuda, …")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="float32", description="Precision of the model's weights."
    )
    backend: Literal["torch", "onnx", "openvino"] = Field(
        default="torch", description="onnx and openvino need `sentence-transformers[onnx]` etc."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that comes with the model."
    )

    def find(self) -> ModelFolder:
        """The model's files.

        Raises:
            ProviderError: There is no such model, or the hub cannot be reached.
            ConfigurationError: It is no cross-encoder.
        """
        folder = find_model(self.model, self.revision, self.backend)
        why = _no_cross_encoder(folder.path)
        if why:
            raise ConfigurationError(
                f"model {self.model} does not rerank: {why}; choose one that was trained to, such "
                "as cross-encoder/ms-marco-MiniLM-L6-v2"
            )
        return folder

    def facts(self) -> Facts:
        return Facts(self.kind, self.model, 0.0)

    def reading(self) -> Mapping[str, Any]:
        # Other weights may lie under the same name by now.
        return {**super().reading(), "revision": self.find().revision}

    def check(self) -> str:
        folder = self.find()
        self.load(folder)
        return f"{folder.name} from {folder.origin}, revision {folder.revision}"

    def load(self, folder: ModelFolder) -> Any:
        """The loaded `CrossEncoder`.

        Raises:
            ConfigurationError: The model cannot read `max_tokens` tokens, or gives several scores.
            ProviderError: The model's files, the device or the backend do not allow it.
        """
        check_backend(self.backend)
        from sentence_transformers import CrossEncoder
        from transformers.utils import logging as transformers_logging

        # Its bar over the weights would be drawn into a search's answer.
        transformers_logging.disable_progress_bar()
        options: dict[str, Any] = {} if self.backend != "torch" else {"dtype": self.dtype}
        try:
            model: Any = CrossEncoder(
                str(folder.path),
                device=None if self.device == "auto" else self.device,
                max_length=self.max_tokens,
                trust_remote_code=self.trust_remote_code,
                local_files_only=not self.trust_remote_code,
                model_kwargs=options,
                backend=self.backend,
            )
        except Exception as error:  # tokenizers, safetensors and torch each raise their own
            raise ProviderError(
                f"model {self.model} cannot be loaded from {folder.origin} on device "
                f"{self.device!r}, backend {self.backend!r}: {first_line(error)}"
            ) from error
        reads = positions(model)
        if self.max_tokens is not None and reads is not None and self.max_tokens > reads:
            raise ConfigurationError(
                f"model {self.model} has positions for {reads} tokens: "
                f"`max_tokens: {self.max_tokens}` cannot be had"
            )
        if model.num_labels != 1:
            raise ConfigurationError(
                f"model {self.model} gives {model.num_labels} numbers to each text, which have no "
                "order: choose one with a single label, such as "
                "cross-encoder/ms-marco-MiniLM-L6-v2"
            )
        return model

    def open(self, stored: Stored | None = None, meter: Meter | None = None) -> TextReranker:
        return CrossEncoderReranker(self)


class CrossEncoderReranker(TextReranker):
    """Loads its model once, at the first text or before (`prepare`)."""

    def __init__(self, provider: SentenceTransformersReranking) -> None:
        super().__init__(provider.facts())
        self._provider = provider
        self._folder = provider.find()
        self._loaded: Any = None
        # A tokenizer cannot be used by two threads at once, and the cores are busy with one.
        self._lock = threading.Lock()

    def prepare(self) -> None:
        with self._lock:
            self._model()

    def score(self, query: str, candidates: Sequence[Candidate]) -> Scored:
        texts = [candidate.text or "" for candidate in candidates]
        with self._lock:
            model = self._model()
            scores = self._predicted(model, [(query, text) for text in texts])
        if not np.isfinite(scores).any():
            hint = "" if self._provider.dtype == "float32" else "; `dtype: float32` may help"
            raise ProviderError(f"{self.facts} gives no numbers{hint}: the model is damaged")
        return Scored([float(score) for score in scores])

    def close(self) -> None:
        with self._lock:
            self._loaded = None

    def _model(self) -> Any:
        if self._loaded is None:
            self._loaded = self._provider.load(self._folder)
        return self._loaded

    def _predicted(self, model: Any, pairs: list[tuple[str, str]]) -> np.ndarray:
        size = self._provider.batch_size
        try:
            found = model.predict(pairs, batch_size=size, show_progress_bar=False)
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise ProviderError(
                    f"{self.facts} cannot read these texts: {first_line(error)}"
                ) from error
            raise ProviderError(
                f"device {self._provider.device} has too little memory for batch_size {size}: "
                "lower it, or `max_tokens`"
            ) from error
        return np.asarray(found, np.float64).reshape(len(pairs))


def _no_cross_encoder(folder: Path) -> str:
    """Why a model's files are not those of a cross-encoder; empty where they may be."""
    kind = _json(folder / "config_sentence_transformers.json").get("model_type")
    if kind not in (None, "CrossEncoder"):
        return f"its files are those of a {kind}, which embeds"
    if kind is None and (folder / "modules.json").exists():
        return "its files are those of a SentenceTransformer, which embeds"
    made = _json(folder / "config.json").get("architectures") or []
    if made and not str(made[0]).endswith(_HEADS):
        return f"its architecture is {made[0]}, which has no head that gives a score"
    return ""


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
