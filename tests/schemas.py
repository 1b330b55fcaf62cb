"""Dagster derives a resource class's config schema anew for every copy, 21 times a run.

For thousands of short runs that is a sixth of the time. A class's schema never changes, so here it
is kept; runs in processes of their own (commands, daemons, proofs) go without.
"""

import weakref
from typing import Any

from dagster._config.pythonic_config import resource

_derive = resource.infer_schema_from_config_class
_derived: weakref.WeakKeyDictionary[type, Any] = weakref.WeakKeyDictionary()


def _kept(cls: type[Any], *args: Any, **options: Any) -> Any:
    if args or any(options.values()):
        return _derive(cls, *args, **options)
    if cls not in _derived:
        _derived[cls] = _derive(cls)
    return _derived[cls]


def keep_schemas() -> None:
    resource.infer_schema_from_config_class = _kept
