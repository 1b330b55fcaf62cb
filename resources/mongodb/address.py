"""Where a connection string leads, without what nobody may see of it."""

import re

_STRING = re.compile(r"(mongodb(?:\+srv)?)://(?:([^/?]*)@)?([^/?@]*)(.*)", re.DOTALL)
_HOSTS = re.compile(r"[\w.:,\[\]%-]+")
_VARIABLE = re.compile(r"\$\w+")


def shown_address(uri: str) -> str:
    """`mongodb://host:port` of a connection string; empty where that cannot be told for sure.

    A variable that is not looked up, as `$MONGODB_URI`, stays what it is.
    """
    if _VARIABLE.fullmatch(uri):
        return uri
    found = _STRING.fullmatch(uri.strip())
    if found is None:
        return ""
    scheme, _, hosts, rest = found.groups()
    # A password with a bare `/` or `?` in it: what stands before is part of it, and no host.
    if "@" in rest or not _HOSTS.fullmatch(hosts):
        return ""
    return f"{scheme}://{hosts}"
