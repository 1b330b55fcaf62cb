"""Which code location of `workspace.yaml` a pipeline belongs to.

A run that names it stands on its job's page in the Dagster UI and is executed again from there, as
one that was started there. No code server is started for it: what `workspace.yaml` says is enough.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import dagster as dg
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.origin import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    JobPythonOrigin,
    RepositoryPythonOrigin,
)
from dagster._core.remote_origin import (
    CodeLocationOrigin,
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster.components.definitions import LazyDefinitions

from pipelines.framework import location
from pipelines.framework.modules import pipeline_names
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import ConfigurationError
from resources.core.paths import MARK, find_project


@dataclass(frozen=True)
class CodeLocation:
    """The code location that a pipeline is in.

    Attributes:
        origin: As Dagster's webserver and daemon know it.
        module: That its server loads; None where that is not known here.
    """

    origin: CodeLocationOrigin
    module: ModuleType | None

    @property
    def shared(self) -> bool:
        """Several pipelines are in it: the keys of each one's resources have its name before."""
        return self.module is location

    def of_job(self, job: str) -> RemoteJobOrigin:
        """What names a job of it from outside."""
        repository = RemoteRepositoryOrigin(self.origin, SINGLETON_REPOSITORY_NAME)
        return repository.get_job_origin(job)

    def code_of_job(self, job: str) -> JobPythonOrigin | None:
        """Where its server loads a job from; None where that is not known here."""
        if self.module is None:
            return None
        target = self.origin.loadable_target_origin
        pointer = _pointer(target, target.attribute or _definitions(self.module))
        python = target.executable_path or sys.executable
        return JobPythonOrigin(
            job, RepositoryPythonOrigin(python, pointer, None, DEFAULT_DAGSTER_ENTRY_POINT)
        )


def code_locations(root: Path) -> Sequence[CodeLocationOrigin]:
    """Those that a project's `workspace.yaml` names, read as Dagster does.

    Raises:
        ConfigurationError: It cannot be read.
    """
    file = root / MARK
    try:
        return location_origins_from_yaml_paths([str(file)])
    except Exception as error:  # Dagster's loader raises whatever the content leads to
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{file} cannot be read: {reason[:300]}; correct it") from error


def code_location(pipeline: EmbeddingPipeline) -> CodeLocation:
    """The code location of a pipeline, its own before one that it shares.

    Args:
        pipeline: Whose module has been imported.

    Raises:
        ConfigurationError: It is in none, or there is no `workspace.yaml` that can be read.
    """
    root = find_project()
    if root is None:
        raise ConfigurationError(f"there is no {MARK} here")
    shared = None
    for origin in code_locations(root):
        module = _module(origin)
        if module is not None and getattr(module, "pipeline", None) == pipeline:
            return CodeLocation(origin, module)
        # What a server loads that runs elsewhere, only its name tells.
        if isinstance(origin, GrpcServerCodeLocationOrigin):
            if origin.location_name == pipeline.name:
                return CodeLocation(origin, None)
        elif shared is None and module is location and _is_shared(pipeline):
            shared = CodeLocation(origin, module)
    if shared is None:
        raise ConfigurationError(f"{root / MARK} names no code location that {pipeline.name} is in")
    return shared


def _name(origin: CodeLocationOrigin) -> str | None:
    """The module that a server imports; None where it loads a file, or runs elsewhere."""
    if not isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
        return None
    return origin.loadable_target_origin.module_name or origin.loadable_target_origin.package_name


def _module(origin: CodeLocationOrigin) -> ModuleType | None:
    """The module of a code location, where it has been imported here."""
    if name := _name(origin):
        return sys.modules.get(name)
    if not isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
        return None
    file = origin.loadable_target_origin.python_file
    if not file:
        return None
    for module in list(sys.modules.values()):
        if (found := getattr(module, "__file__", None)) and _same(found, file):
            return module
    return None


def _same(one: str, other: str) -> bool:
    # Names first: to resolve every module's path takes longer than all the rest.
    return Path(one).name == Path(other).name and Path(one).resolve() == Path(other).resolve()


def _is_shared(pipeline: EmbeddingPipeline) -> bool:
    modules = (sys.modules.get(f"pipelines.{name}") for name in pipeline_names())
    return any(getattr(module, "pipeline", None) == pipeline for module in modules)


def _definitions(module: ModuleType) -> str:
    """The name under which a module has what Dagster loads."""
    kinds = (dg.Definitions, LazyDefinitions)
    return next((name for name, value in vars(module).items() if isinstance(value, kinds)), "defs")


def _pointer(target: LoadableTargetOrigin, attribute: str) -> CodePointer:
    if target.python_file:
        return CodePointer.from_python_file(target.python_file, attribute, target.working_directory)
    if target.package_name:
        return CodePointer.from_python_package(
            target.package_name, attribute, target.working_directory
        )
    assert target.module_name
    return CodePointer.from_module(target.module_name, attribute, target.working_directory)
