"""How good searches are, of a pipeline as it stands and of what it might be."""

from assets.work.evaluating.candidates import Asked
from assets.work.evaluating.figures import Compared
from pipelines.operations.evaluation.comparing import evaluate

__all__ = ["Asked", "Compared", "evaluate"]
