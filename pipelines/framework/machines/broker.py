"""The broker between runs and Celery workers: one variable, read alike by both."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from resources.core.credentials import hidden, redacted
from resources.core.errors import ConfigurationError, EmbeddingsError

if TYPE_CHECKING:
    from celery import Celery

VARIABLE = "EMBEDDINGS_BROKER"
"""`redis://HOST:6379/0`, `amqp://…`, or `filesystem:///FOLDER`, a folder that all machines share.

It may hold a password: it is in no definition, no run config and no log.
"""

CONNECT_SECONDS = 5
QUEUE = "dagster"
"""That steps are put into where nothing else is said, as dagster-celery has it."""


class BrokerError(EmbeddingsError):
    """Steps cannot be handed to workers."""


def broker_url() -> str:
    """Where the broker is.

    Raises:
        ConfigurationError: That is not said.
    """
    url = os.environ.get(VARIABLE, "").strip()
    if not url:
        raise ConfigurationError(
            f"steps are to be done by Celery workers, and {VARIABLE} is not set: set it where "
            "Dagster and the workers are started, such as redis://HOST:6379/0"
        )
    return url


def celery_app() -> "Celery":
    """The application of dagster-celery, for this broker.

    Raises:
        ConfigurationError: The broker is not named, or its folder cannot be used.
    """
    from dagster_celery.make_app import make_app

    url = broker_url()
    scheme = urlsplit(url).scheme
    transport: dict[str, Any] = {"max_retries": 2, "interval_start": 0, "interval_step": 0.5}
    settings: dict[str, Any] = {
        "task_default_queue": QUEUE,
        "task_default_priority": 5,
        # Who has taken a step, and when: a worker that has died says nothing any more.
        "task_track_started": True,
        # A step that waits behind another in one worker could be done by one that is idle.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": scheme.startswith("redis"),
        "worker_send_task_events": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_timeout": CONNECT_SECONDS,
        "redis_socket_connect_timeout": CONNECT_SECONDS,
        "result_expires": 24 * 3600,
    }
    backend = "rpc://"
    if scheme.startswith("redis"):
        backend = url
        transport["socket_connect_timeout"] = CONNECT_SECONDS
    elif scheme == "filesystem":
        url, backend, more = _folder(Path(urlsplit(url).path))
        transport |= more
    settings["broker_transport_options"] = transport
    return make_app({"broker": url, "backend": backend, "config_source": settings})


def _folder(root: Path) -> tuple[str, str, dict[str, Any]]:
    parts = {name: root / name for name in ("queue", "control", "done", "results")}
    try:
        for part in parts.values():
            part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{VARIABLE} names the folder {root}, which cannot be used ({error.strerror}): name "
            "one that Dagster and all workers can write to, or a Redis server"
        ) from error
    options = {
        "data_folder_in": str(parts["queue"]),
        "data_folder_out": str(parts["queue"]),
        "control_folder": str(parts["control"]),
        # A step is taken by renaming it, which one worker can: within one file system.
        "store_processed": True,
        "processed_folder": str(parts["done"]),
    }
    return "filesystem://", parts["results"].as_uri(), options


def check_broker(app: "Celery") -> None:
    """Reach it, within seconds.

    Raises:
        BrokerError: It cannot be reached.
    """
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(
                max_retries=2, interval_start=0.2, interval_step=0.3, timeout=3 * CONNECT_SECONDS
            )
        except Exception as error:  # each transport raises what its library does
            raise unreachable(error) from error


def unreachable(error: BaseException) -> BrokerError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    url = broker_url()
    with suppress(ValueError):
        url = redacted(url)
    return BrokerError(
        f"the broker {url} cannot be reached ({hidden(said).rstrip('.')}): see that it runs and "
        f"that this machine reaches it, or correct {VARIABLE}; without workers, run it with "
        "EMBEDDINGS_EXECUTOR=in_process"
    )
