"""What a run looks like in a terminal: a line for what matters, not one for every event."""

import logging

import dagster as dg

from pipelines.framework.console import say


class _BriefHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", None) or {}
        step = (meta.get("step_key") or "").split("__", 1)[-1]
        message = meta.get("orig_message") or record.getMessage()
        if record.levelno >= logging.WARNING:
            say("  [dim]{step:<18}[/dim] [yellow]{message}[/yellow]", step=step, message=message)
        else:
            say("  [dim]{step:<18}[/dim] {message}", step=step, message=message)


def _brief(context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("embeddings", level=logging.INFO)
    logger.addHandler(_BriefHandler())
    # A failed step is reported once, by its sentence, at the end.
    logger.addFilter(lambda record: record.levelno < logging.ERROR)
    return logger


brief_logger = dg.LoggerDefinition(
    _brief, description="The pipeline's own messages, one short line each."
)
