"""Where `embeddings` begins."""

import gc


def main() -> None:
    # What is imported stays: to look through it for garbage takes a sixth of a search's time.
    gc.disable()
    from pipelines.cli.app import main as begin

    begin()
