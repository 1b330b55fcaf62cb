"""The gate: whether a space may take the place of the one that serves."""

from assets.work.gating.judging import judge
from assets.work.gating.verdict import Row, Verdict

__all__ = ["Row", "Verdict", "judge"]
