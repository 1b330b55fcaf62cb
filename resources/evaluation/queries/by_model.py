"""Questions that a chat model has written, each from the document that answers it."""

import re
from typing import Literal

from pydantic import Field, field_validator

from resources.core.errors import EvaluationError
from resources.evaluation.judged import QuerySet
from resources.evaluation.queries.chat import PROMPT
from resources.evaluation.queries.provider import QueriesProvider, Where
from resources.evaluation.queries.stored import KeptQueries, StoredQueries
from resources.evaluation.queries.writing import Writing

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ByModelQueries(QueriesProvider):
    """Questions written by a chat model of any server that speaks OpenAI's protocol.

    `embeddings queries PIPELINE generate` has them written, once, and says before what it costs;
    they are kept in the registry's collection `evaluation_queries`, each with its model, prompt,
    document and moment. Runs only read them there.
    """

    kind: Literal["by_model"] = "by_model"
    model: str = Field(min_length=1, description="By the name that the server knows it by.")
    base_url: str | None = Field(
        default=None, description="Another server than OpenAI's: http://localhost:11434/v1."
    )
    key_variable: str = Field(
        default="OPENAI_API_KEY",
        description="Name of the environment variable that holds the API key, which only "
        "`generate` needs; empty for a server that asks for none.",
    )
    sample: int = Field(default=50, ge=1, le=100_000, description="Documents that are asked about.")
    per_document: int = Field(default=1, ge=1, le=20, description="Questions about each.")
    seed: int = Field(default=0, description="Another seed, another choice of documents.")
    prompt: str = Field(
        default=PROMPT,
        min_length=1,
        description="What the model is told before the document; `{count}` is `per_document`. It "
        "has to ask for a JSON array of strings.",
    )
    max_characters: int = Field(
        default=6_000, ge=100, description="Of a document; the model reads no more of it."
    )
    usd_per_million_input: float | None = Field(
        default=None, ge=0, description="Price of a million tokens that are sent."
    )
    usd_per_million_output: float | None = Field(
        default=None, ge=0, description="Likewise of those that come back."
    )
    max_cost_usd: float | None = Field(
        default=None, ge=0, description="`generate` stops before it would spend more."
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="Requests in flight.")
    attempts: int = Field(
        default=4, ge=1, description="Tries of a request that fails by chance, by the SDK."
    )
    timeout_seconds: float = Field(default=120, gt=0, description="That an answer may take.")

    @field_validator("key_variable")
    @classmethod
    def _a_name(cls, value: str) -> str:
        # What stands here instead may be the key itself, and is not shown.
        if value and not _VARIABLE.fullmatch(value):
            raise ValueError(
                "key_variable is the name of an environment variable, such as OPENAI_API_KEY, and "
                "what is here is none: a key stands in the environment only"
            )
        return value

    def open(self, where: Where) -> QuerySet:
        kept = KeptQueries(where.registry, where.pipeline, self.writing(where).set_name)
        if not kept.count():
            raise EvaluationError(
                f"pipeline {where.pipeline} has no questions by {self.model} with this prompt yet: "
                f"`embeddings queries {where.pipeline} generate` has them written, and says before "
                "what that costs"
            )
        found = StoredQueries(
            kept,
            f"by_model {self.model}",
            (
                f"each question was written by {self.model} from the document that it has to find: "
                "others may answer it as well, and count as wrong",
            ),
        )
        found.known_item = True
        return found

    def writing(self, where: Where) -> Writing:
        """Has the questions written."""
        return Writing(self, where)
