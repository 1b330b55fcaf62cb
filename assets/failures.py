"""How an error of this project looks in Dagster: its sentence, and no retry that cannot help."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import ValidationError

from resources.core.errors import EmbeddingsError


@contextmanager
def explained() -> Iterator[None]:
    """Turn an error that a user can act on into a `dagster.Failure` with its sentence."""
    try:
        yield
    except EmbeddingsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise dg.Failure(
            description=f"{error.title}: {where}: {first['msg']}", allow_retries=False
        ) from error
