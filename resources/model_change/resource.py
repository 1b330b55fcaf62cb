"""The resource `model_change`: what a run does when another embedding space is wanted."""

from typing import Literal

from pydantic import Field

from resources.core.config import StrictConfig, StrictResource


class GateSettings(StrictConfig):
    """What a candidate must come to before it may serve."""

    significance: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="nDCG@10 counts as worse where chance alone would do as much less often.",
    )
    max_worse: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="So much less nDCG@10 is borne, even where it is more than chance.",
    )
    min_overlap: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Least share of the ten nearest that both spaces find; 0: it is only shown.",
    )
    max_latency_factor: float | None = Field(
        default=None, gt=0, description="Most that a search's p95 may grow; default: only shown."
    )
    max_bytes_factor: float | None = Field(
        default=None, gt=0, description="Most that the stored bytes may grow; likewise."
    )
    max_cost_usd_per_month: float | None = Field(
        default=None, ge=0, description="Most that keeping it fresh may cost; likewise."
    )


class ModelChangeResource(StrictResource):
    """How a pipeline goes over to another embedding space."""

    mode: Literal["beside", "replace"] = Field(
        default="beside",
        description="beside: the new space is built at a path of its own, and serves once it is "
        "promoted. replace: vectors are replaced at the one path, for readers that cannot follow.",
    )
    keep_serving: bool = Field(
        default=True,
        description="While another space is built, runs keep the one that serves up to date too.",
    )
    re_embed: bool = Field(
        default=False,
        description="Build a space of its own for another model of one family (voyage-4), whose "
        "vectors could be compared with those that are there.",
    )
    max_replace_fraction: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="With `mode: replace`: stop instead of replacing more than this share of the "
        "stored vectors by those of another space.",
    )
    allow_replace: bool = Field(
        default=False, description="With `mode: replace`: replace however many there are."
    )
    promote: Literal["manual", "auto"] = Field(
        default="manual",
        description="auto: a candidate serves as soon as the gate lets it through.",
    )
    retire_after_days: float = Field(
        default=7.0,
        ge=0,
        description="The space that served before is not retired sooner, so that there is a way "
        "back.",
    )
    gate: GateSettings = Field(
        default=GateSettings(), description="What a candidate must come to before it may serve."
    )

    @property
    def replaceable(self) -> float:
        """Share of the stored vectors that a run may replace by those of another space."""
        return 1.0 if self.allow_replace else self.max_replace_fraction
