"""Memory of MongoDB Atlas' cluster tiers, and how much of it a vector index finds beside `mongod`.

Tiers of the general and low-CPU classes on AWS, of other clouds nearly the same. Source, as read in
November 2026: mongodb/docs, includes/list-tables/instance-types/aws.rst. How much memory each tier
of dedicated search nodes has is on no page that was read.
"""

from dataclasses import dataclass
from math import ceil

GB = 10**9
TIERS: tuple[tuple[str, int], ...] = (
    ("M10", 2), ("M20", 4), ("M30", 8), ("M40", 16), ("M50", 32), ("M60", 64), ("M80", 128),
    ("M140", 192), ("M200", 256), ("M300", 384), ("R400", 488), ("R700", 768),
)  # fmt: skip
"""Name and GB of memory of each data-bearing node, smallest first."""


def beside_mongod(gigabytes: int) -> float:
    """GB that WiredTiger's cache leaves.

    By default it takes a quarter up to M30 and half from M40 on (Atlas Cluster Sizing and Tier
    Selection).
    """
    return gigabytes * (0.75 if gigabytes <= 8 else 0.5)


@dataclass(frozen=True)
class Fit:
    """Where an index stays in memory.

    Attributes:
        tier: The smallest whose nodes hold it beside `mongod`, or the largest there is.
        clusters: Shards of such a tier that it takes: more than one where no node holds it.
    """

    tier: str
    clusters: int

    def __str__(self) -> str:
        return self.tier if self.clusters == 1 else f"{self.clusters:,} shards of {self.tier}"


def fit(index_bytes: float) -> Fit:
    """The smallest deployment whose nodes hold an index of so many bytes in memory."""
    for name, gigabytes in TIERS:
        if beside_mongod(gigabytes) * GB >= index_bytes:
            return Fit(name, 1)
    largest, gigabytes = TIERS[-1]
    return Fit(largest, ceil(index_bytes / (beside_mongod(gigabytes) * GB)))
