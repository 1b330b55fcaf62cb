"""The resource `batch_store`: where embedding batches, plans and local indexes lie."""

from pydantic import Field

from resources.batch_store.store import BatchStore
from resources.core.config import StrictResource
from resources.core.credentials import redacted
from resources.core.paths import state_path


class BatchStoreResource(StrictResource):
    """The folder or object store for embedding batches, plans and local indexes."""

    url: str = Field(
        default="batch_store",
        min_length=1,
        description="A folder, relative to `state/`, or an fsspec URL such as s3://bucket/prefix; "
        "one that holds credentials comes from the environment.",
    )

    keep_days: float | None = Field(
        default=None,
        gt=0,
        description="Remove embedding batches older than this that nothing needs any more: no plan "
        "names them, and none of their vectors is stored; likewise vectors of judged queries in a "
        "space that nobody evaluates any more. Default: keep all.",
    )

    def open(self) -> BatchStore:
        return BatchStore(state_path(self.url))

    def describe(self) -> str:
        """The place, for people, without credentials."""
        return redacted(state_path(self.url))
