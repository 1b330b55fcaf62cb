"""The shapes of what is answered, for the OpenAPI description; tests hold answers against them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from resources.search_index.query import Mode

EXTENDED = "As relaxed Extended JSON."


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Shape):
    error: str = Field(description="What is wrong, and the way out.")


class Health(_Shape):
    status: str


class PipelineEntry(_Shape):
    name: str
    fault: str = Field(description="Why it cannot be searched; empty where it can.")
    missing: list[str] = Field(description="Environment variables that it needs and lacks.")


class Pipelines(_Shape):
    pipelines: list[PipelineEntry]


class Modes(_Shape):
    """Why a mode cannot be had; empty where it can."""

    vector: str
    text: str
    hybrid: str


class Reranker(_Shape):
    name: str = Field(description="Empty where the pipeline has none.")
    fault: str = Field(description="Why it cannot be had; empty where it can.")


class SpaceDetails(_Shape):
    id: str
    state: str = Field(description="`serving`, `previous`, `ready` or `building`.")
    model: str
    dimensions: int | None
    vectors: int = Field(description="Stored when the last run had ended.")
    incomplete: str = Field(description="How far it is; empty where it is complete.")


class PipelineDetails(_Shape):
    name: str
    index: str = Field(description="`database.collection:path:index`.")
    engine: str = Field(description="`mongodb` or `local`.")
    vectors: int = Field(description="In the index when it was built.")
    space: str = Field(description="Id of the embedding space.")
    spaces: list[SpaceDetails] = Field(
        description="That can be asked: the one that serves, then the newest."
    )
    model: str
    dimensions: int
    fields: list[str] = Field(description="Of a hit.")
    filter_fields: list[str] = Field(description="By which searches may filter.")
    reranker: Reranker
    modes: Modes


class Hit(_Shape):
    id: Any = Field(description=f"`_id` of the document that holds the vector. {EXTENDED}")
    source_id: Any = Field(description=f"Of the source document. {EXTENDED}")
    score: float = Field(description="The higher, the better; see the answer's `score`.")
    ranks: dict[str, int] = Field(
        description="Place in each list that was fused or ranked anew, from 1."
    )
    others: int = Field(description="Other chunks of the same source document that were found.")
    text: str | None = Field(description="What was embedded.")
    context: str | None = Field(description="The text around, where `expand` asks for it.")
    fields: dict[str, Any] = Field(description=EXTENDED)
    lineage: dict[str, Any] = Field(
        description=f"Which model, space, batch and run made the vector. {EXTENDED}"
    )
    run_url: str | None = Field(description="That run in Dagster's UI.")


class Answer(_Shape):
    query: str
    mode: Mode
    index: str
    engine: str
    space: str
    model: str
    version: Any = Field(description="Of the index that answered.")
    score: str = Field(description="What a score stands for.")
    seconds: float = Field(description="Of all queries of the request together.")
    stage: dict[str, Any] = Field(
        description="The stages that were sent, or what the local engine did in their place."
    )
    why_empty: str = Field(description="Why there are no hits, where there is a cause to name.")
    notes: list[str] = Field(description="What a person should know about this answer.")
    hits: list[Hit] = Field(description="Best first.")


class Reply(_Shape):
    pipeline: str
    answers: list[Answer] = Field(description="One a query, in their order.")
