"""How good searches are, as they are now: measured, and compared with before."""

from assets.work.quality.measured import Measured, measure

__all__ = ["Measured", "measure"]
