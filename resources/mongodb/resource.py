"""The resource `mongodb`: which deployment holds documents, vectors and the registry."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field, PrivateAttr
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from resources.core.config import StrictConfig, StrictResource
from resources.core.paths import state_path
from resources.mongodb import embedded
from resources.mongodb.address import shown_address
from resources.mongodb.clients import ClientHandle
from resources.mongodb.connection_string import checked, host, unusable
from resources.mongodb.deployment import explain


class Server(StrictConfig):
    """A deployment that is there already: Atlas, Atlas Local, a mongod."""

    kind: Literal["server"] = "server"
    uri: str = Field(
        default=dg.EnvVar("MONGODB_URI"),
        description="Connection string; from the environment, because it holds a password.",
    )

    def connection_string(self) -> str:
        return checked(self.uri)

    def describe(self) -> str:
        return f"MongoDB at {host(self.uri) or 'an address that cannot be read'}"

    @property
    def address(self) -> str:
        """`mongodb://host:port`, without credentials; empty where that cannot be told."""
        return shown_address(self.uri)


class Embedded(StrictConfig):
    """A local server that the project starts by itself and shares between its processes."""

    kind: Literal["embedded"] = "embedded"
    folder: str = Field(default="mongodb", description="Data folder, relative to `state/`.")

    def connection_string(self) -> str:
        return embedded.ensure_running(self.path)

    def describe(self) -> str:
        return f"embedded server in {self.path}"

    @property
    def address(self) -> str:
        """The folder's URI: its port changes with every start."""
        return self.path.as_uri()

    @property
    def path(self) -> Path:
        return Path(state_path(self.folder))


class MongoDBResource(StrictResource):
    """The MongoDB deployment, and the database of what its pipelines share."""

    deployment: Server | Embedded = Field(
        default=Embedded(),
        discriminator="kind",
        description="Exactly one of `server` and `embedded`.",
    )
    registry: str = Field(
        default="embeddings",
        min_length=1,
        description="Database for what all pipelines of a deployment share: spaces, quarantine.",
    )
    timeout_seconds: float = Field(
        default=10, gt=0, description="How long to look for a server before giving up."
    )
    lease_seconds: float = Field(
        default=60,
        gt=0,
        description="A run that is not heard of for so long may be replaced by another run of the "
        "same pipeline.",
    )
    lease_wait_seconds: float = Field(
        default=300,
        ge=0,
        description="How long to wait while another run of the same pipeline is at work.",
    )

    _handle: ClientHandle | None = PrivateAttr(default=None)

    @contextmanager
    def connect(self) -> Iterator[MongoClient]:
        """The process's client, which has reached the deployment; its errors come out explained.

        It stays connected for as long as this resource is there.

        Raises:
            DeploymentError: Not reachable, wrong credentials, or failing later on.
        """
        where = self.deployment.describe()
        try:
            uri = self.deployment.connection_string()
            if self._handle is None or self._handle.uri != uri:
                self._handle = ClientHandle(uri, self.timeout_seconds)
            client = self._handle.client
            try:
                client.admin.command("ping")
            except (ValueError, OSError) as error:  # such as a password that SASL cannot prepare
                raise unusable(error, uri) from error
            yield client
        except PyMongoError as error:
            raise explain(error, where) from error

    def describe(self) -> str:
        """The deployment, for people, without credentials."""
        return self.deployment.describe()

    @property
    def asleep(self) -> bool:
        """Whether to connect would start a server: an embedded one that nothing needs now."""
        deployment = self.deployment
        return isinstance(deployment, Embedded) and embedded.running(deployment.path) is None
