"""What a pipeline says of its assets before any run: whose they are, and what they feed on."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from dagster._check import CheckError
from pydantic import BaseModel

from assets.work.opened import Opened
from resources.batch_store.resource import BatchStoreResource
from resources.core.errors import ConfigurationError
from resources.core.markdown import literal
from resources.core.paths import find_project, input_path, is_url
from resources.mongodb.resource import MongoDBResource
from resources.search_index.resource import SearchIndexResource
from resources.sources.collection import CollectionOrigin
from resources.sources.files import FileOrigin
from resources.sources.folder import FolderOrigin
from resources.sources.locate import shown
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource

M = TypeVar("M", bound=BaseModel)

Dependency = str | dg.AssetKey | dg.AssetSpec | dg.AssetDep | dg.AssetsDefinition

ASSETS = ("source_documents", "embedding_batches", "stored_vectors", "search_index")
"""That every pipeline has, in their order."""
CANDIDATE = "candidate_space"
"""After them: what a change of the embedding space is built in."""
PROMOTED = "promoted"
"""Metadata of a check on it: whether what was built serves from now on."""
QUEUE_TAG = "dagster-celery/queue"
QUALITY = "search_quality"
"""After them, where judged queries are chosen; it changes nothing of what they made."""


@dataclass(frozen=True)
class Settings:
    """Of a pipeline: what tells where its assets lie and what is in them."""

    pipeline: str
    source: SourceResource
    mongodb: MongoDBResource
    vector_store: VectorStoreResource
    search_index: SearchIndexResource
    batch_store: BatchStoreResource

    @classmethod
    def of(cls, o: Opened) -> "Settings":
        """Those of a run, with what it overrides."""
        return cls(o.name, o.source, o.mongodb, o.vector_store, o.search_index, o.batch_store)

    def key(self, asset: str) -> dg.AssetKey:
        return dg.AssetKey([self.pipeline, asset])


@dataclass(frozen=True)
class About:
    """What stands on every asset of a pipeline.

    Attributes:
        settings: As the pipeline's own files have them; an environment variable is its name.
        given: What the source is filled by, as the pipeline's module says; empty where it does not.
        queue: Of the workers that embed; empty where all steps are done by the same.
        shards: In how many the work is divided.
    """

    settings: Settings
    given: Sequence[dg.AssetDep] = ()
    owners: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    queue: str = ""
    shards: int = 1

    @property
    def embedding_tags(self) -> Mapping[str, str]:
        """Of the steps that ask the model, for executors that know queues."""
        return {QUEUE_TAG: self.queue} if self.queue else {}

    @property
    def external(self) -> dg.AssetSpec | None:
        """The asset that the source is, where the module names none."""
        return None if self.given else source_asset(self.settings.source)

    @property
    def deps(self) -> Sequence[dg.AssetDep]:
        external = self.external
        return [dg.AssetDep(external.key)] if external else self.given

    def upstream(self, source: SourceResource) -> dg.AssetKey | None:
        """The asset whose columns the source's fields are; None where that cannot be told."""
        if self.given:
            return self.given[0].asset_key if len(self.given) == 1 else None
        found = source_asset(source)
        return found.key if found else None


def check_owners(owners: Sequence[str]) -> None:
    """Refuse what Dagster does not take for an owner.

    Raises:
        ConfigurationError: One is neither a team nor an e-mail address.
    """
    if isinstance(owners, str):
        raise ConfigurationError(f"owners: a list belongs here, not {owners!r}: [{owners!r}]")
    for owner in owners:
        try:
            dg.AssetSpec("any", owners=[owner])
        except (dg.DagsterError, CheckError):
            raise ConfigurationError(
                f"owners: {owner!r} is no owner to Dagster, which wants `team:NAME` or an e-mail "
                "address such as ann@example.com"
            ) from None


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse what Dagster does not take for a tag of an asset.

    Raises:
        ConfigurationError: A key or a value has other characters, or is too long.
    """
    if not isinstance(tags, Mapping):
        raise ConfigurationError(
            f"tags: a mapping belongs here, not {tags!r}: {{'domain': 'films'}}"
        )
    for name, value in tags.items():
        try:
            dg.AssetSpec("any", tags={name: value})
        except (dg.DagsterError, CheckError):
            raise ConfigurationError(
                f"tags: {name!r}: {value!r} is no tag to Dagster, which wants texts of letters, "
                "digits, `_`, `-` and `.`, 63 characters at most (a key may have one `/`)"
            ) from None


def dependencies(deps: Sequence[Dependency]) -> list[dg.AssetDep]:
    """As Dagster takes them; in a text, `/` separates the parts of a key.

    Raises:
        ConfigurationError: Dagster takes no such key.
    """
    if isinstance(deps, str):
        raise ConfigurationError(f"deps: a list belongs here, not {deps!r}: [{deps!r}]")
    return [_dependency(given) for given in deps]


def _dependency(given: Dependency) -> dg.AssetDep:
    name = dg.AssetKey.from_user_string(given) if isinstance(given, str) else given
    try:
        found = dg.AssetDep.from_coercible(name)
    except (dg.DagsterError, CheckError):
        raise ConfigurationError(
            f"deps: {given!r} is no asset: give a key, as text such as 'raw/films', or a definition"
        ) from None
    # Dagster makes the name of an input of it, and says only then that it cannot.
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", "_".join(found.asset_key.path)):
        raise ConfigurationError(
            f"deps: {found.asset_key.to_user_string()!r} is no key that Dagster can depend on: "
            "its parts are letters, digits, `_`, `-` and `.`"
        )
    return found


def source_asset(source: SourceResource) -> dg.AssetSpec | None:
    """What a collection or a file is to Dagster where nobody else defines it: an external asset.

    It follows from the place alone, so that all pipelines over it, in whatever code location, give
    the same: no deployment, no credentials, no group, no owner. Texts in the configuration are
    none.
    """
    origin = source.origin
    if isinstance(origin, CollectionOrigin):
        namespace = origin.namespace
        return dg.AssetSpec(
            _key([origin.database, origin.collection]),
            kinds={"mongodb"},
            description=f"The MongoDB collection {literal(namespace)}, which pipelines read.",
            metadata={"dagster/table_name": namespace},
        )
    if isinstance(origin, FileOrigin | FolderOrigin):
        parts, uri = _place(origin.path)
        return dg.AssetSpec(
            _key(parts),
            kinds={"file"},
            description=f"{literal('/'.join(parts))}, which pipelines read.",
            metadata={"dagster/uri": uri_value(uri)},
        )
    return None


def uri_value(uri: str) -> Any:
    """A link where a browser can follow it."""
    return dg.MetadataValue.url(uri) if uri.startswith(("http://", "https://")) else uri


def named(settings: M) -> M:
    """Settings in which a variable of the environment is its name: what it holds may be secret."""
    update: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, dg.EnvVar):
            update[name] = f"${value.env_var_name}"
        elif isinstance(value, BaseModel):
            update[name] = named(value)
    return settings.model_copy(update=update) if update else settings


def _place(path: str) -> tuple[list[str], str]:
    """The parts of a place's name, the same however it is written, and its URI."""
    if is_url(path):
        uri = shown(path)
        scheme, rest = uri.split("://", 1)
        return [scheme, *filter(None, rest.split("/"))], uri
    project = find_project()
    if project is None and not Path(path).expanduser().is_absolute():
        return list(Path(path).parts), path  # found by nobody before there is a project
    found = Path(os.path.normpath(input_path(path)))
    if project is not None and found.is_relative_to(project):
        return list(found.relative_to(project).parts), found.as_uri()
    return list(found.parts), found.as_uri()


def _key(parts: Sequence[str]) -> dg.AssetKey:
    """A key that Dagster takes, and another one for every place.

    What cannot stand in a key gives way, and a piece of a hash tells such places apart; as it does
    where a collection is named as an asset of a pipeline.
    """
    names = [re.sub(r"[^A-Za-z0-9_.-]+", "_", part)[:60] for part in parts]
    names = [name for name in names if name.strip("_./\\")]
    if names != list(parts) or names[-1] in (*ASSETS, CANDIDATE, QUALITY):
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:8]
        names = [*names[:-1], f"{names[-1]}-{digest}"] if names else [f"source-{digest}"]
    return dg.AssetKey(names)
