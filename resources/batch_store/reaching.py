"""What keeps an object store from being used, each as a sentence with its way out.

Every store's library raises errors of its own, which are known by what they say: none of those
libraries is one of ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from resources.core.credentials import hidden, redacted
from resources.core.errors import BatchStoreError, EmbeddingsError

_KEYS = (
    "give it credentials in the environment (for s3:// AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
)
_NO_BUCKET = ("specified bucket does not exist", "nosuchbucket")
_BY_WORDS = {
    # What is said, in small letters: what to do.
    **dict.fromkeys(_NO_BUCKET, "make that bucket, or correct `batch_store: url`"),
    "expired": "renew its credentials, or let it find some that are renewed by themselves (a role, "
    "a profile); then run it again, which goes on where it was",
    "bucket name": "correct the bucket's name in `batch_store: url`",
    "credentials": _KEYS,
    "profile": _KEYS,
    "access key": _KEYS,
    "signature": _KEYS,
    "access denied": "allow its user to list, read, write and delete there, or " + _KEYS,
    "forbidden": "allow its user to list, read, write and delete there, or " + _KEYS,
    "invalid endpoint": "correct the endpoint (for s3:// AWS_ENDPOINT_URL), http:// included",
}
_UNREACHED = (
    "see that it runs and that this machine reaches it, and correct its endpoint (for s3:// "
    "AWS_ENDPOINT_URL) or `batch_store: url`"
)


@contextmanager
def reaching(root: str) -> Iterator[None]:
    """Turns whatever an object store's library raises into one sentence.

    Raises:
        FileNotFoundError: There is no such file; where its bucket is missing it is a sentence.
        pyarrow.ArrowException: The file is there, and damaged.
        BatchStoreError: In the place of all else.
    """
    try:
        yield
    except (EmbeddingsError, pa.ArrowException):
        raise
    except Exception as error:
        if type(error) is OSError and error.errno is None:
            raise  # what Arrow finds wrong in the data
        said = str(error).lower()  # a path too, of which "bucket" may be a part
        if isinstance(error, FileNotFoundError) and not any(each in said for each in _NO_BUCKET):
            raise
        raise unreached(root, error) from error


def unreached(root: str, error: Exception) -> BatchStoreError:
    # A colon would divide the sentence for `doctor`.
    said = " ".join(str(error).split()).replace(": ", " ")[:200] or type(error).__name__
    known = next((way for words, way in _BY_WORDS.items() if words in said.lower()), None)
    return BatchStoreError(
        f"the batch store {redacted(root)} cannot be used ({hidden(said).rstrip('.')}): "
        f"{known or _UNREACHED}",
        passing=known is None,
    )
