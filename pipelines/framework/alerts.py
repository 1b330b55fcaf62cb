"""A sensor that tells of failed runs: by a webhook, by e-mail, or both."""

import functools
import html
import json
import logging
import os
import smtplib
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

import dagster as dg
from tenacity import Retrying, stop_after_attempt, wait_fixed

from assets import tagging
from pipelines.framework.old_runs import own
from pipelines.framework.step_failures import step_failure
from resources.alerts.resource import AlertsResource
from resources.core.credentials import hidden
from resources.core.loopback import LOOPBACK

TRIES = 2
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0
"""Of a receiver; Dagster gives a tick a minute."""
LONGEST = 1_000
"""Characters of a sentence that are sent."""
SHORTEST = 4
"""Of what is hidden by itself."""
_WILL_RETRY = "dagster/will_retry"


@dataclass(frozen=True)
class Alert:
    """A failed run.

    Attributes:
        job: Name of the job; that of an asset page's run is Dagster's.
        reason: Why there was this run; empty where nobody has said.
        sentence: What its failed steps and checks say, each beginning with its asset.
        url: Of the run's page; empty where the address of the UI is not known.
    """

    pipeline: str
    job: str
    run_id: str
    reason: str
    sentence: str
    url: str

    @property
    def subject(self) -> str:
        return f"{self.pipeline}: run {self.run_id[:8]} failed"

    @property
    def text(self) -> str:
        """For people."""
        why = f" ({self.reason})" if self.reason else ""
        where = self.url or f"run {self.run_id} in the Dagster UI"
        return f"Pipeline {self.pipeline}{why} failed. {self.sentence}\n{where}"


def alerting(pipeline: str, settings: Any) -> list[dg.SensorDefinition]:
    """`<pipeline>_alerts`, where the settings say whom to tell.

    Raises:
        ConfigurationError: They are not whole.
    """
    assert isinstance(settings, AlertsResource)
    if not settings.chosen:
        return []

    @dg.run_failure_sensor(
        name=f"{pipeline}_alerts",
        description=f"Tells of runs of {pipeline} that failed.",
        # Whoever chooses receivers wants to hear of it.
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def alerts(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        # All jobs of the code location are looked at: runs of an asset's page are of none of ours.
        if not own(run, pipeline) or run.tags.get(_WILL_RETRY) == "true":
            return None
        failed = list(undelivered(alert_of(context, pipeline, settings), settings))
        for said in failed:
            # The tick's own log, and the code server's.
            context.log.error(said)
            logging.getLogger("dagster").error(said)
        return dg.SkipReason("; ".join(failed)) if failed else None

    return [alerts]


def alert_of(context: dg.RunFailureSensorContext, pipeline: str, settings: AlertsResource) -> Alert:
    run = context.dagster_run
    said = [step_failure(event) for event in context.get_step_failure_events()]
    sentence = "; besides, ".join(said) or context.failure_event.message or "it does not say why"
    sentence = hidden(" ".join(sentence.split()))
    if len(sentence) > LONGEST:
        sentence = sentence[:LONGEST] + "…"
    ui = (settings.webserver_url or "").rstrip("/")
    return Alert(
        pipeline,
        run.job_name,
        run.run_id,
        tagging.reason(run.tags) or "",
        sentence,
        f"{ui}/runs/{run.run_id}" if ui else "",
    )


def undelivered(alert: Alert, settings: AlertsResource) -> Iterator[str]:
    """Tell every receiver; what could not be told, as sentences that hold the alert itself."""
    ways: list[tuple[str, str | None, Callable[[str], None]]] = [
        ("webhook", settings.webhook_variable, functools.partial(_post, alert)),
        ("e-mail", settings.smtp_variable, functools.partial(_mail, alert, settings)),
    ]
    for what, variable, tell in ways:
        if variable is None:
            continue
        address = os.environ.get(variable, "")
        try:
            if not address:
                raise ValueError(
                    f"{variable} is not set where the code location runs: set it there"
                )
            for attempt in Retrying(
                stop=stop_after_attempt(TRIES), wait=wait_fixed(PAUSE_SECONDS), reraise=True
            ):
                with attempt:
                    tell(address)
        except Exception as error:  # whatever a receiver does, the tick goes on
            why = hidden(str(error), _secrets(address)) or type(error).__name__
            yield f"the alert by {what} ({variable}) could not be delivered: {why}; {alert.text}"


def _post(alert: Alert, url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("it holds no http:// or https:// address")
    # Slack takes <…> and & for its own: what stands in a document must call nobody.
    body = {"text": html.escape(alert.text, quote=False), **asdict(alert)}
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
        pass


def _mail(alert: Alert, settings: AlertsResource, url: str) -> None:
    server = urlsplit(url)
    if server.scheme not in ("smtp", "smtps") or not server.hostname:
        raise ValueError("it holds no smtp:// or smtps:// address")
    message = EmailMessage()
    message["Subject"] = alert.subject
    message["From"], message["To"] = settings.mail_from, ", ".join(settings.mail_to)
    message.set_content(alert.text)
    secure = ssl.create_default_context()
    timeout = TIMEOUT_SECONDS
    if server.scheme == "smtps":
        client = smtplib.SMTP_SSL(
            server.hostname, server.port or 465, None, timeout=timeout, context=secure
        )
    else:
        client = smtplib.SMTP(server.hostname, server.port or 587, None, timeout=timeout)
    with client:
        client.ehlo()
        if server.scheme == "smtp" and client.has_extn("starttls"):
            client.starttls(context=secure)
            client.ehlo()
        if server.username:
            if not (isinstance(client.sock, ssl.SSLSocket) or server.hostname in LOOPBACK):
                raise ValueError("the server does not encrypt, and no password is sent in clear")
            client.login(unquote(server.username), unquote(server.password or ""))
        client.send_message(message)


def _secrets(url: str) -> list[str]:
    """An address, and what of it must not be shown even by itself."""
    try:
        found = urlsplit(url)
    except ValueError:
        return [url]
    parts = (url, found.password or "", unquote(found.password or ""), found.path[1:], found.query)
    return [part for part in parts if len(part) >= SHORTEST]
