"""What an asset's page showed last, where nothing that it shows has changed since."""

from collections.abc import Collection
from typing import Any

import dagster as dg

from assets.report.pictures import LEFT_OUT

_CODE_VERSION = "dagster/code_version"


def shown_last(
    context: dg.AssetExecutionContext, names: Collection[str], **same: str
) -> dict[str, Any] | None:
    """Some of the metadata of the last materialization, to be shown again as it is.

    Args:
        context: Of the asset's step.
        names: Of the metadata that is wanted.
        same: Further metadata, which must have had these values.

    Returns:
        None where there was no materialization, or not of this, or by code of another version, or
        where something of it had to be left out, which may be there now.
    """
    event = context.instance.get_latest_materialization_event(context.asset_key)
    last = event.asset_materialization if event else None
    code = context.assets_def.code_versions_by_key[context.asset_key]
    if last is None or (last.tags or {}).get(_CODE_VERSION) != code:
        return None
    if any(name not in last.metadata or last.metadata[name].value != same[name] for name in same):
        return None
    found = {name: value for name, value in last.metadata.items() if name in names}
    if not found or any(map(_left_out, found.values())):
        return None
    return found


def _left_out(value: dg.MetadataValue) -> bool:
    return isinstance(value, dg.MarkdownMetadataValue) and value.value.startswith(LEFT_OUT)
