"""The OpenAPI description, made from the models that check what is asked."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipelines.serving import schemas
from pipelines.serving.question import MAX_QUERIES, MAX_QUERY, Question

SHAPES: tuple[type[BaseModel], ...] = (
    Question, schemas.Reply, schemas.Pipelines, schemas.PipelineDetails, schemas.Health,
    schemas.Error,
)  # fmt: skip

_ERRORS = {
    400: "The question cannot be answered as it is asked.",
    401: "The token is missing or wrong.",
    403: "Another site's page asks.",
    404: "There is no such pipeline.",
    413: "The body is too large.",
    500: "The pipeline is broken, or something that nobody foresaw.",
    502: "The provider of the model refuses or is out of reach.",
    503: "The deployment or the index is out of reach, or too many questions wait.",
    504: "It took too long.",
}
_SCHEMA = "#/components/schemas/{model}"


def description(*, with_token: bool) -> dict[str, Any]:
    """OpenAPI 3.1 of what the server answers, whose schemas are JSON Schema 2020-12."""
    kinds = [(shape, "validation") for shape in SHAPES]
    _, definitions = models_json_schema(kinds, ref_template=_SCHEMA)  # pyright: ignore[reportArgumentType]
    components: dict[str, Any] = {"schemas": definitions["$defs"]}
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Search",
            "version": "1",
            "description": "Search the pipelines of this project: by vector, by words, or both.",
        },
        "paths": {
            "/search": {
                "get": _operation(
                    "search", "Ask one or several queries.", "Reply", 400, 404, 500, 502, 503, 504
                )
                | {"parameters": list(_parameters(components["schemas"]["Question"]))},
                "post": _operation(
                    "search_post",
                    "The same, with a body: for long queries, vectors and large filters.",
                    "Reply", 400, 403, 404, 413, 500, 502, 503, 504,
                )
                | {"requestBody": {"required": True, "content": _json("Question")}},
            },
            "/pipelines": {
                "get": _operation("pipelines", "List the pipelines.", "Pipelines", 500)
            },
            "/pipelines/{name}": {
                "get": _operation(
                    "pipeline",
                    "What a pipeline can be asked for; loads its model and its index.",
                    "PipelineDetails", 400, 404, 500, 502, 503, 504,
                )
                | {
                    "parameters": [
                        {
                            "name": "name",
                            "in": "path",
                            "required": True,
                            "schema": {"type": "string"},
                        },
                        {
                            "name": "space",
                            "in": "query",
                            "required": False,
                            "description": "Of another space than the one that serves.",
                            "schema": {"type": "string"},
                        },
                    ]
                }
            },
            "/healthz": {
                "get": _operation("health", "Whether the server answers.", "Health")
                | {"security": []}
            },
        },
        "components": components,
    }  # fmt: skip
    if with_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
        for path in found["paths"].values():
            for operation in path.values():
                if "security" not in operation:
                    operation["responses"]["401"] = _refusal(401)
    return found


def _operation(name: str, summary: str, shape: str, *errors: int) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "OK", "content": _json(shape)}}
    responses |= {str(status): _refusal(status) for status in errors}
    return {"operationId": name, "summary": summary, "responses": responses}


def _parameters(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Of a GET: a list is given by naming its parameter several times."""
    for name, schema in question["properties"].items():
        parameter = {
            "name": name,
            "in": "query",
            "required": name in question["required"],
            "description": schema.get("description", ""),
        }
        if name == "filter":
            yield parameter | {"content": {"application/json": {"schema": {"type": "object"}}}}
        else:
            yield parameter | {"schema": _of_texts(name, schema)}


def _of_texts(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema: a vector fits no address, and null is to leave it out."""
    text = {"type": "string", "maxLength": MAX_QUERY}
    if name == "query":
        return text
    if name == "queries":
        return {"type": "array", "items": text, "minItems": 1, "maxItems": MAX_QUERIES}
    given = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    return given[0] if given else schema


def _json(shape: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _SCHEMA.format(model=shape)}}}


def _refusal(status: int) -> dict[str, Any]:
    return {"description": _ERRORS[status], "content": _json("Error")}
