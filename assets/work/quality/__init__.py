"""How good searches are, as they are now: measured, and compared with before."""

from assets.work.quality.measuring import Measured, measure

__all__ = ["Measured", "measure"]
