"""The sensor that tells of failed runs, by webhook and by e-mail; both are servers on a socket."""

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipelines.framework.alerts import TRIES, Alert, undelivered
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.alerts.resource import AlertsResource
from resources.core.errors import ConfigurationError
from tests.receivers import Mailbox, Webhook, mailbox, webhook

NAME = "films"
PASSWORD = "a-password-of-the-mail-server"


@dataclass
class Watched:
    """A pipeline whose runs fail, and its sensor, as the daemon asks it tick after tick."""

    pipeline: EmbeddingPipeline
    instance: dg.DagsterInstance
    cursor: str | None = None

    def tick(self) -> dg.SensorDefinition | Any:
        defs = self.pipeline.definitions()
        sensor = defs.resolve_sensor_def(f"{NAME}_alerts")
        context = dg.build_sensor_context(
            self.instance, self.cursor, repository_def=defs.get_repository_def()
        )
        found = sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return found

    def fail(self, job: str = NAME, **tags: str) -> str:
        """Id of a run that cannot reach its deployment."""
        defs = self.pipeline.definitions()
        found = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, tags=tags
        )
        assert not found.success
        return found.run_id


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Webhook, Mailbox]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with webhook() as posts, mailbox() as mails:
        monkeypatch.setenv("TEAM_WEBHOOK", posts.url)
        monkeypatch.setenv("TEAM_SMTP", f"smtp://robot:{PASSWORD}@127.0.0.1:{mails.port}")
        yield posts, mails


def declared(folder: Path, name: str = NAME, **alerts: Any) -> EmbeddingPipeline:
    file = folder / f"{secrets.token_hex(4)}.yaml"
    resources = {
        "source": {"origin": {"texts": {"documents": [{"id": "a", "text": "A text."}]}}},
        "mongodb": {"deployment": {"server": {"uri": "mongodb://127.0.0.1:9"}},
                    "timeout_seconds": 0.05},
        "vector_store": {"database": "films", "collection": "vectors"},
        "runs": {"retries": 0},
        "alerts": alerts,
    }  # fmt: skip
    content = {"resources": {key: {"config": value} for key, value in resources.items()}}
    file.write_text(yaml.safe_dump(content), "utf-8")
    return EmbeddingPipeline(name=name, configs=["embedder/minilm.yaml", file])


@pytest.fixture
def watched(
    tmp_path: Path, instance: dg.DagsterInstance, receivers: tuple[Webhook, Mailbox]
) -> Watched:
    pipeline = declared(
        tmp_path,
        webhook_variable="TEAM_WEBHOOK",
        smtp_variable="TEAM_SMTP",
        mail_from="pipelines@example.com",
        mail_to=["ann@example.com", "bob@example.com"],
        webserver_url="https://dagster.example.com/",
    )
    found = Watched(pipeline, instance)
    found.tick()  # from now on
    return found


def test_a_failed_run_is_told_of_once_by_both_ways(
    watched: Watched, receivers: tuple[Webhook, Mailbox]
):
    posts, mails = receivers
    run = watched.fail(**{"embeddings/reason": "schedule"})
    watched.tick()
    watched.tick()
    (post,) = posts.posted
    assert post["pipeline"] == post["job"] == NAME
    assert post["run_id"] == run
    assert post["reason"] == "schedule"
    assert post["url"] == f"https://dagster.example.com/runs/{run}"
    assert post["sentence"].startswith("source_documents: MongoDB at 127.0.0.1:9 cannot be reached")
    assert post["sentence"] in post["text"]
    assert post["url"] in post["text"]
    (mail,) = mails.messages
    assert mail["Subject"] == f"{NAME}: run {run[:8]} failed"
    assert (mail["From"], mail["To"]) == (
        "pipelines@example.com",
        "ann@example.com, bob@example.com",
    )
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert " ".join(post["text"].split()) == " ".join(body.decode().split())
    assert base64.b64decode(mails.logins[0]) == f"\0robot\0{PASSWORD}".encode()


def test_other_runs_are_not_told_of(
    watched: Watched, receivers: tuple[Webhook, Mailbox], tmp_path: Path
):
    watched.fail(**{"dagster/will_retry": "true"})
    Watched(declared(tmp_path, "others"), watched.instance).fail("others")

    @dg.op
    def load() -> None:
        raise dg.Failure("a job of somebody else in the same code location")

    job = dg.GraphDefinition(name="load_data", node_defs=[load]).to_job()
    assert not job.execute_in_process(instance=watched.instance, raise_on_error=False).success
    watched.tick()
    watched.tick()
    assert receivers[0].posted == []


def test_a_receiver_that_is_down_keeps_no_other_from_hearing_and_is_told_of(
    watched: Watched,
    receivers: tuple[Webhook, Mailbox],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr("pipelines.framework.alerts.PAUSE_SECONDS", 0.0)
    posts, mails = receivers
    posts.status = 500
    run = watched.fail()
    found = watched.tick()
    assert len(posts.posted) == TRIES
    assert len(mails.messages) == 1
    # Nothing is lost: the log, and the tick's page, hold what should have been told.
    assert found.skip_message in caplog.text
    assert "the alert by webhook (TEAM_WEBHOOK) could not be delivered: " in found.skip_message
    assert "MongoDB at 127.0.0.1:9 cannot be reached" in found.skip_message
    assert run in found.skip_message
    assert "very-secret-path" not in caplog.text + found.skip_message
    watched.tick()
    assert len(mails.messages) == 1  # the tick has gone on


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("TEAM_WEBHOOK", "http://127.0.0.1:9/services/T0/very-secret-path", "refused"),
        ("TEAM_WEBHOOK", "ftp://127.0.0.1/very-secret-path", "no http:// or https://"),
        ("TEAM_WEBHOOK", "", "TEAM_WEBHOOK is not set where the code location runs"),
        ("TEAM_SMTP", f"smtp://robot:{PASSWORD}@127.0.0.1:9", "refused"),
        ("TEAM_SMTP", f"robot:{PASSWORD}@127.0.0.1:9", "no smtp:// or smtps://"),
    ],
)
def test_whatever_keeps_an_alert_from_being_told_is_said_without_secrets(
    variable: str,
    value: str,
    why: str,
    receivers: tuple[Webhook, Mailbox],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("pipelines.framework.alerts.PAUSE_SECONDS", 0.0)
    monkeypatch.setenv(variable, value)
    settings = AlertsResource(
        webhook_variable="TEAM_WEBHOOK",
        smtp_variable="TEAM_SMTP",
        mail_from="a@example.com",
        mail_to=["b@example.com"],
    )
    alert = Alert(NAME, NAME, "some-run", "", "source_documents: it broke", "")
    (said,) = undelivered(alert, settings)
    assert why in said
    assert variable in said
    assert said.endswith("source_documents: it broke\nrun some-run in the Dagster UI")
    assert "very-secret-path" not in said
    assert PASSWORD not in said
    posts, mails = receivers
    assert len(posts.posted) + len(mails.messages) == 1


def test_no_password_is_sent_in_clear(
    receivers: tuple[Webhook, Mailbox], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipelines.framework.alerts.LOOPBACK", ())
    monkeypatch.setattr("pipelines.framework.alerts.PAUSE_SECONDS", 0.0)
    settings = AlertsResource(
        smtp_variable="TEAM_SMTP", mail_from="a@example.com", mail_to=["b@example.com"]
    )
    alert = Alert(NAME, NAME, "some-run", "", "source_documents: it broke", "")
    (said,) = undelivered(alert, settings)
    assert "the server does not encrypt, and no password is sent in clear" in said
    assert not receivers[1].messages


def test_what_a_document_says_calls_nobody(
    watched: Watched, receivers: tuple[Webhook, Mailbox], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "pipelines.framework.alerts.step_failure", lambda event: "<!channel> & " + "x" * 3_000
    )
    watched.fail()
    watched.tick()
    (post,) = receivers[0].posted
    assert "&lt;!channel&gt; &amp; x" in post["text"]
    assert len(post["sentence"]) == 1_001


def test_without_receivers_there_is_no_sensor(tmp_path: Path):
    assert not list(declared(tmp_path).definitions().sensors or [])


@pytest.mark.parametrize(
    ("alerts", "why"),
    [
        ({"webhook_variable": "https://hooks.example/T0"}, "name of an environment variable"),
        ({"smtp_variable": "S", "mail_from": "a@b.c"}, "but not mail_to: add it"),
        ({"mail_to": ["ann"]}, "'ann' is no e-mail address"),
    ],
)
def test_what_is_wrong_is_said_as_the_definitions_load(
    alerts: dict[str, Any], why: str, tmp_path: Path
):
    with pytest.raises(ConfigurationError, match=why) as refused:
        declared(tmp_path, **alerts).definitions()
    assert "hooks.example" not in str(refused.value)
