"""How a step fails for a reason that a person can act on: by its sentence, not by a trace."""

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo


class StepFailed(DagsterUserCodeProcessError, dg.Failure):
    """A failure whose event says one sentence, in the step's event and in the run's.

    Of any other failure Dagster notes the trace, which is of its own code for the most part. What
    failed in another process it notes as that process put it; so this is put like that.
    """

    def __init__(self, sentence: str, *, kind: str) -> None:
        super().__init__(
            sentence,
            allow_retries=False,
            user_code_process_error_infos=[SerializableErrorInfo(f"{sentence}\n", [], kind)],
        )
