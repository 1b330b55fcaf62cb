"""The resource `alerts`: who is told of runs that failed; secrets by the names of variables."""

import re

from pydantic import Field, field_validator

from resources.core.config import StrictResource
from resources.core.errors import ConfigurationError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ADDRESS = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")


class AlertsResource(StrictResource):
    """Where a pipeline's failed runs are told of; read as the definitions load."""

    webhook_variable: str | None = Field(
        default=None,
        description="Name of the environment variable that holds the URL to which a failed run is "
        "posted as JSON, whose `text` Slack, Mattermost and their like show.",
    )
    smtp_variable: str | None = Field(
        default=None,
        description="Name of the environment variable that holds the mail server: "
        "smtp://user:password@host:587 (by STARTTLS, without which no password is sent), or "
        "smtps://…:465.",
    )
    mail_from: str | None = Field(default=None, description="Sender of the e-mails.")
    mail_to: list[str] = Field(default=[], description="Who gets them.")
    webserver_url: str | None = Field(
        default=None,
        description="Address of the Dagster UI, for the link to the run: https://dagster.example.",
    )

    @field_validator("webhook_variable", "smtp_variable")
    @classmethod
    def _a_name(cls, said: str | None) -> str | None:
        if said is not None and not _VARIABLE.fullmatch(said):
            raise ValueError(
                "the name of an environment variable belongs here, which holds the address: the "
                "address is a secret, and Dagster keeps run configs"
            )
        return said

    @field_validator("mail_from", "mail_to")
    @classmethod
    def _addresses(cls, said: str | list[str] | None) -> str | list[str] | None:
        for each in [said] if isinstance(said, str) else said or []:
            if not _ADDRESS.fullmatch(each):
                raise ValueError(f"{each!r} is no e-mail address such as ann@example.com")
        return said

    @property
    def chosen(self) -> bool:
        """Whether anybody is told.

        Raises:
            ConfigurationError: Something for e-mails is said, and something is missing.
        """
        mail = {
            "smtp_variable": self.smtp_variable,
            "mail_from": self.mail_from,
            "mail_to": self.mail_to,
        }
        missing = [name for name, said in mail.items() if not said]
        if missing and len(missing) < len(mail):
            raise ConfigurationError(
                f"alerts says how to send e-mails, but not {' nor '.join(missing)}: add it to "
                "`alerts: {config: {…}}`, or leave all three out"
            )
        return bool(self.webhook_variable or self.mail_to)
