"""Is a pipeline in `workspace.yaml`, and once? Else it has no page there, and no schedule runs."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dagster._core.definitions.reconstruct import repository_def_from_target_def
from dagster._core.remote_origin import CodeLocationOrigin, ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.utils import get_loadable_targets

from pipelines.framework.code_location import code_locations
from pipelines.framework.modules import pipeline_names
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.doctor.finding import Finding
from resources.core.paths import MARK, project_root

TOPIC = MARK
SHARED = "pipelines.framework.location"
"""The module that has every pipeline of `pipelines/`."""


@dataclass(frozen=True)
class Sought:
    """A pipeline, and the module that declares it; empty where that is not known."""

    pipeline: EmbeddingPipeline
    module: str

    @classmethod
    def of(cls, pipeline: EmbeddingPipeline, name: str = "") -> "Sought":
        """As commands name it: a module in `pipelines/`, or one with its dots."""
        if name:
            return cls(pipeline, name if "." in name else f"pipelines.{name}")
        modules = list(sys.modules.items())
        own = (name for name, each in modules if getattr(each, "pipeline", None) is pipeline)
        return cls(pipeline, next(own, ""))

    @property
    def file(self) -> Path | None:
        found = getattr(sys.modules.get(self.module), "__file__", None)
        return Path(found).resolve() if found else None

    @property
    def in_project(self) -> bool:
        """Whether the location of all pipelines has it."""
        package, _, name = self.module.rpartition(".")
        return package == "pipelines" and name in pipeline_names()


def look(sought: Sought) -> Finding:
    """Read `workspace.yaml` as Dagster does, and look for the pipeline in what it names.

    Raises:
        ConfigurationError: There is no project, or its `workspace.yaml` cannot be read.
    """
    holding, closed = [], []
    for origin in code_locations(project_root()):
        try:
            if _holds(origin, sought):
                holding.append(origin.location_name)
        except _Closed as why:
            closed.append(f"{origin.location_name} ({why})")
    return _said(sought, holding, closed)


def _said(sought: Sought, holding: Sequence[str], closed: Sequence[str]) -> Finding:
    name = sought.pipeline.name
    if len(holding) > 1:
        return Finding(
            TOPIC,
            "problem",
            f"{name} is in {len(holding)} code locations, {' and '.join(holding)}: Dagster does "
            "not launch assets that two have",
            f"take all but one out of {MARK}",
        )
    if holding:
        return Finding(TOPIC, "ok", f"{name} is in the code location {holding[0]}")
    module = sought.module or "MODULE"
    target = f"{{module_name: {module}, location_name: {name}, working_directory: .}}"
    fix = f"add to its `load_from`: - python_module: {target}"
    if closed:
        text = f"{name} is in no code location that could be looked into; {', '.join(closed)} could"
        return Finding(TOPIC, "note", f"{text} not", f"unless one of those has it, {fix}")
    if sought.pipeline.schedule:
        text = f"{name} is in no code location, so that its schedule never runs, and no page has it"
        return Finding(TOPIC, "problem", text, fix)
    return Finding(TOPIC, "note", f"{name} is in no code location: the Dagster UI has no page", fix)


class _Closed(Exception):
    """Why a code location cannot be looked into from here."""


def _holds(origin: CodeLocationOrigin, sought: Sought) -> bool:
    """Whether a code location has the pipeline; one that is not known by its name is loaded.

    Raises:
        _Closed: It runs elsewhere, or cannot be loaded.
    """
    if not isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
        raise _Closed("its server runs elsewhere")
    target = origin.loadable_target_origin
    name = target.module_name or target.package_name or ""
    if name == SHARED:
        return sought.in_project
    if name and name == sought.module:
        return True
    if target.python_file and sought.file == Path(target.python_file).resolve():
        return True
    package, _, last = name.rpartition(".")
    if package == "pipelines" and last in pipeline_names():
        return False  # another pipeline's own
    if target.executable_path and Path(target.executable_path) != Path(sys.executable):
        raise _Closed(f"it runs in {target.executable_path}")
    return any(job == sought.pipeline.name for job in _jobs(target))


def _jobs(target: LoadableTargetOrigin) -> Iterator[str]:
    # Dagster leaves it as it is, since it is started in the project's folder.
    folder = target.working_directory and str(project_root() / target.working_directory)
    try:
        found = get_loadable_targets(
            python_file=target.python_file,
            module_name=target.module_name,
            package_name=target.package_name,
            autoload_defs_module_name=target.autoload_defs_module_name,
            working_directory=folder,
            attribute=target.attribute,
            resolve_lazy_defs=True,
        )
        for each in found:
            repository = repository_def_from_target_def(each.target_definition)
            yield from repository.job_names if repository else ()
    except (Exception, SystemExit) as error:  # whatever the user's code does when it is imported
        raise _Closed(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
