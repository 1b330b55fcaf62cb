"""What a run looks like in a terminal: a line for what matters, not one for every event."""

import logging

import dagster as dg
from rich.console import Console
from rich.markup import escape

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class _BriefHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", None) or {}
        step = (meta.get("step_key") or "").split("__", 1)[-1]
        message = meta.get("orig_message") or record.getMessage()
        style = "yellow" if record.levelno >= logging.WARNING else "default"
        console.print(f"  [dim]{step:<18}[/dim] [{style}]{escape(message)}[/{style}]")


def _brief(context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("embeddings", level=logging.INFO)
    logger.addHandler(_BriefHandler())
    # A failed step is reported once, by its sentence, at the end.
    logger.addFilter(lambda record: record.levelno < logging.ERROR)
    return logger


brief_logger = dg.LoggerDefinition(
    _brief, description="The pipeline's own messages, one short line each."
)
