"""What a download from the model hub says of itself: how much it is, how far, how much longer."""

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from resources.core.progress import Progress, listener, size


@contextmanager
def told_download(model: str, revision: str | None, ignored: Sequence[str]) -> Iterator[type]:
    """A bar for `snapshot_download`, that draws nothing and tells lines.

    Says before it how much there is to fetch. Nothing is said of a model that is here already.
    """
    log = listener()  # the bars move in threads of the hub's
    total = None
    if wanted := _missing(model, revision, ignored):
        files, total = wanted
        log(f"downloading {model} from the model hub: {size(total)} in {files} files")
    progress = Progress(log, f"of {model} downloaded", total, show=size)
    lock = threading.Lock()

    class Bar(_unseen()):
        def update(self, n: float | None = 1) -> bool | None:
            drawn = super().update(n)
            if self.unit == "B" and n:
                self._told()
            return drawn

        def _told(self) -> None:
            # Several bars count the same bytes, as they are received and as they are written.
            with lock:
                progress.total = max(int(self.total or 0), progress.total or 0) or None
                progress.advance(max(0, int(self.n) - progress.done))

    try:
        yield Bar
    finally:
        progress.finish()


def _unseen() -> Any:
    from tqdm import tqdm

    class Unseen(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # One that is disabled would not count.
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})

    return Unseen


def _missing(model: str, revision: str | None, ignored: Sequence[str]) -> tuple[int, int] | None:
    """Files of a model that are not here yet, and their bytes; None where the hub does not say."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    options: dict[str, Any] = {"revision": revision, "ignore_patterns": list(ignored)}
    try:
        snapshot_download(model, **options, local_files_only=True)
        return None
    except LocalEntryNotFoundError:
        pass
    try:
        found = snapshot_download(model, **options, dry_run=True, tqdm_class=_unseen())
    except Exception:  # whatever it is, the download itself comes to it and says so
        return None
    sizes = [file.file_size or 0 for file in found if file.will_download]
    return (len(sizes), sum(sizes)) if sizes else None
