"""The project's `.env`: keys and addresses, read by every command as `dagster dev` reads it."""

import os
from pathlib import Path

from dotenv import dotenv_values

from resources.core.errors import ConfigurationError


def load_environment(project: Path) -> None:
    """Set what `.env` says. It wins over what is set already, as it does in `dagster dev`.

    Otherwise a command would work on another database than the page that shows its runs.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        found = dotenv_values(project / ".env")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(
            f"{project / '.env'} cannot be read ({why}): correct it, or move it away"
        ) from error
    # A name alone sets nothing.
    os.environ.update({name: value for name, value in found.items() if value is not None})
