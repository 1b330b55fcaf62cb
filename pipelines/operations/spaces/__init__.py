"""The spaces of a pipeline: listed, and which of them serves changed."""

from pipelines.operations.spaces.changing import promote, retire, rollback
from pipelines.operations.spaces.comparing import Comparison, compare
from pipelines.operations.spaces.listing import Listed, Spaces, spaces

__all__ = ["Comparison", "Listed", "Spaces", "compare", "promote", "retire", "rollback", "spaces"]
