"""Where `embeddings` begins."""

import gc
import signal
import sys


def main() -> None:
    # What is imported stays: to look through it for garbage takes a sixth of a search's time.
    gc.disable()
    # As Ctrl-C: a run writes down what it has, a server that it started stays or goes as it should.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from pipelines.cli import streams

    # Before typer keeps the one that it finds.
    sys.excepthook = streams.say_traceback
    from pipelines.cli.app import main as begin

    streams.prepare()
    begin()
