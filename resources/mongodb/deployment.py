"""What a MongoDB deployment is and can do, found out by asking it."""

import logging
from dataclasses import dataclass
from typing import Any, Literal

from pymongo import MongoClient
from pymongo.errors import (
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from resources.core.errors import DeploymentError, EmbeddingsError

AUTHENTICATION_FAILED, UNAUTHORIZED = 18, 13
NO_SEARCH = "no Vector Search here"
"""The server's own words for it read like an error in what it was asked."""
# SearchNotEnabled (mongod 7+), CommandNotSupported (SecantusDB), CommandNotFound and an unknown
# pipeline stage (mongod before search existed).
_NO_SEARCH = {31082, 115, 59, 40324}
_log = logging.getLogger(__name__)
_ATLAS_ERROR = 8000  # Atlas's own proxy: its text says what


@dataclass(frozen=True)
class Deployment:
    """What answered.

    Attributes:
        kind: The embedded server, a mongod of one's own, or Atlas.
        version: The server's version.
        vector_search: Whether `$vectorSearch` and search indexes are there.
    """

    kind: Literal["embedded server", "mongod", "Atlas"]
    version: str
    vector_search: bool

    def __str__(self) -> str:
        return f"{self.name}: {'with Vector Search' if self.vector_search else NO_SEARCH}"

    @property
    def name(self) -> str:
        return f"{self.kind} {self.version}"


def inspect_deployment(client: MongoClient, database: str) -> Deployment:
    """Ask the server what it is; touches nothing.

    Args:
        client: A connected client.
        database: Any database the user may read.
    """
    build: dict[str, Any] = client.admin.command("buildInfo")
    version = build["version"]
    if "secantusVersion" in build:
        kind, version = "embedded server", f"SecantusDB {build['secantusVersion']}"
    elif is_atlas(client):
        kind = "Atlas"
    else:
        kind = "mongod"
    try:
        client[database]["_"].list_search_indexes().to_list()
    except OperationFailure as error:
        if not lacks_search(error):
            raise
        return Deployment(kind, version, vector_search=False)
    return Deployment(kind, version, vector_search=True)


def is_atlas(client: MongoClient) -> bool:
    """By the hosts' names: nothing else tells Atlas from a server of one's own."""
    return any(".mongodb.net" in host for host, _ in client.nodes)


def server_version(client: MongoClient) -> tuple[int, int]:
    """Major and minor version, as `buildInfo` has them."""
    major, minor, *_ = client.admin.command("buildInfo")["versionArray"]
    return int(major), int(minor)


def server_message(error: OperationFailure) -> str:
    """What the server says, without what the driver and the pipeline put around it."""
    text = str((error.details or {}).get("errmsg", error))
    return text.split("PlanExecutor error during aggregation :: caused by :: ")[-1].rstrip(".")


def lacks_search(error: OperationFailure) -> bool:
    """Whether the error is that of a deployment without Vector Search.

    Its words are for the debug log: people are told `NO_SEARCH`.
    """
    text = server_message(error)
    if error.code == _ATLAS_ERROR:
        lacks = "not allowed" in text.lower() or "command not found" in text.lower()
    else:
        lacks = error.code in _NO_SEARCH or "vectorsearch is not allowed" in text.lower()
    if lacks:
        _log.debug("not here, by error %s: %s", error.code, text)
    return lacks


_LABELS = ("RetryableWriteError", "TransientTransactionError")
PASSING = {
    # MongoDB's list of error codes, error_codes.yml; what asks for a person is not among them.
    6,  # HostUnreachable
    7,  # HostNotFound
    43,  # CursorNotFound: of a server that was started again
    50,  # MaxTimeMSExpired
    64,  # WriteConcernFailed
    89,  # NetworkTimeout
    91,  # ShutdownInProgress
    133,  # FailedToSatisfyReadPreference
    134,  # ReadConcernMajorityNotAvailableYet
    189,  # PrimarySteppedDown
    202,  # NetworkInterfaceExceededTimeLimit
    262,  # ExceededTimeLimit
    9001,  # SocketException
    10107,  # NotWritablePrimary
    11600,  # InterruptedAtShutdown
    11602,  # InterruptedDueToReplStateChange
    13435,  # NotPrimaryNoSecondaryOk
    13436,  # NotPrimaryOrSecondary
}


def explain(error: PyMongoError, where: str) -> EmbeddingsError:
    """A driver's error as one sentence with a way out.

    Args:
        error: What the driver raised.
        where: The deployment, for people, without credentials.
    """
    if isinstance(error, OperationFailure):
        message = str((error.details or {}).get("errmsg", error))
        if error.code == UNAUTHORIZED:
            return DeploymentError(
                f"{where} does not allow this to the user: grant it readWrite on the databases "
                f"of this pipeline ({message})"
            )
        if error.code == AUTHENTICATION_FAILED or "auth" in message.lower():
            return DeploymentError(
                f"{where} refuses the user name or password: correct the credentials in "
                f"the connection string ({message})"
            )
        return DeploymentError(
            f"{where} answered with error {error.code}: {message}", passing=passing(error)
        )
    if isinstance(error, ServerSelectionTimeoutError | ConnectionFailure):
        reason = str(error).split(" (configured timeouts")[0].split(", Timeout:")[0]
        return DeploymentError(
            f"{where} cannot be reached: is the server running, and does its access list allow "
            f"this machine? ({reason})",
            passing=True,
        )
    return DeploymentError(f"{where}: {error}")


def passing(error: PyMongoError) -> bool:
    """Whether it is of a connection or a server that may be back in a while."""
    if isinstance(error, OperationFailure):
        return error.code in PASSING or any(map(error.has_error_label, _LABELS))
    return isinstance(error, ConnectionFailure)
