"""The description is valid OpenAPI 3.1, and says what is really answered."""

import typing

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from pipelines.operations.search import SearchOptions
from pipelines.serving.openapi import description
from pipelines.serving.question import Question
from tests.pipelines.helpers import MOTH
from tests.pipelines.serving.site import Site

URI = "urn:description"


def matches(description: typing.Any, shape: str, value: typing.Any) -> bool:
    resource = Resource(contents=description, specification=DRAFT202012)
    registry = Registry().with_resource(URI, resource)
    schema = {"$ref": f"{URI}#/components/schemas/{shape}"}
    return Draft202012Validator(schema, registry=registry).is_valid(value)


@pytest.mark.parametrize("with_token", [True, False])
def test_the_description_is_valid(with_token: bool):
    found = description(with_token=with_token)
    OpenAPIV31SpecValidator(found).validate()
    assert ("security" in found) == with_token


def test_answers_are_as_described(site: Site):
    found = site.get("/openapi.json").json
    assert found == description(with_token=False)
    for shape, reply in {
        "Reply": site.post({"pipeline": "films", "query": MOTH, "expand": 1}),
        "Pipelines": site.get("/pipelines"),
        "PipelineDetails": site.get("/pipelines/films"),
        "Health": site.get("/healthz"),
        "Error": site.post({}),
    }.items():
        assert matches(found, shape, reply.json), (shape, reply.body)
        assert not matches(found, shape, reply.json | {"more": 1})
    assert set(found["paths"]) == {
        route.path
        for route in site.application.asgi.app.routes
        if route.path not in ("/", "/openapi.json")
    }


def test_questions_are_as_described():
    found = description(with_token=False)
    for question, right in (
        ({"pipeline": "films", "query": "a", "weights": [1, 2], "filter": {"kind": 1}}, True),
        ({"pipeline": "films", "queries": ["a", [0.5, 1]]}, True),
        ({"pipeline": "films", "query": "a", "limit": 201}, False),
        ({"pipeline": "films", "query": "a", "more": 1}, False),
        ({"query": "a"}, False),
    ):
        assert matches(found, "Question", question) == right, question


def test_every_option_of_a_search_can_be_asked_for():
    options = set(SearchOptions.__annotations__)
    assert options == set(Question.model_fields) - {"pipeline", "query", "queries", "max_text"}
    parameters = {
        parameter["name"]
        for parameter in description(with_token=False)["paths"]["/search"]["get"]["parameters"]
    }
    assert parameters == set(Question.model_fields)
