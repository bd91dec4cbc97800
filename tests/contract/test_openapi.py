"""The OpenAPI document is what clients are generated from: it has to be whole, true and stable."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.api.problems import MEDIA_TYPE, TYPE_PREFIX
from app.config import Settings
from app.main import create_app
from cameo import errors
from cameo.errors import CameoError

OPERATIONS = {
    "compress": ("post", "/compress"),
    "reconstruct": ("post", "/reconstruct"),
    "shorten": ("post", "/shorten"),
    "compress_batch": ("post", "/compress/batch"),
    "reconstruct_batch": ("post", "/reconstruct/batch"),
    "compare": ("post", "/compare"),
    "card": ("post", "/card"),
    "read_card": ("post", "/card/read"),
    "verify": ("post", "/verify"),
    "interpolate": ("post", "/interpolate"),
    "sample": ("get", "/sample"),
    "list_models": ("get", "/models"),
    "get_model": ("get", "/models/{name}"),
    "get_version": ("get", "/models/{name}/{version}"),
    "live": ("get", "/livez"),
    "ready": ("get", "/readyz"),
    "metrics": ("get", "/metrics"),
}
NEVER_FAIL = {"live", "metrics"}

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, CameoError) and kind.__module__ == errors.__name__
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app(Settings(store=tmp_path_factory.mktemp("empty"), device="cpu")).openapi()


def operations(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        operation["operationId"]: (method, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def responses(document: dict[str, Any], name: str) -> dict[str, Any]:
    method, path = OPERATIONS[name]
    found: dict[str, Any] = document["paths"][path][method]["responses"]
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def test_operation_ids_are_these(document: dict[str, Any]) -> None:
    assert operations(document) == OPERATIONS


def test_references_resolve(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert "#/components/schemas/Problem" in found
    for reference in found:
        node = document
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]
        assert node


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - NEVER_FAIL - {"ready"}))
def test_every_error_is_a_documented_problem(document: dict[str, Any], name: str) -> None:
    failures = {status: answer for status, answer in responses(document, name).items() if status != "200"}
    assert failures
    for status, answer in failures.items():
        assert list(answer["content"]) == [MEDIA_TYPE], f"{status} is no problem"
        assert answer["content"][MEDIA_TYPE]["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_readiness_says_no_in_its_own_words(document: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/ReadyAnswer"}
    answers = {
        status: answer
        for status, answer in responses(document, "ready").items()
        if list(answer["content"]) != [MEDIA_TYPE]
    }
    assert {status: answer["content"]["application/json"]["schema"] for status, answer in answers.items()} == {
        "200": schema,
        "503": schema,
    }


@pytest.mark.parametrize("name", ["compress", "shorten", "compare"])
def test_budgets_can_be_too_small_wherever_they_are_named(document: dict[str, Any], name: str) -> None:
    method, path = OPERATIONS[name]
    assert "max_bytes" in {parameter["name"] for parameter in document["paths"][path][method]["parameters"]}
    assert "budget-too-small" in responses(document, name)["422"]["content"][MEDIA_TYPE]["examples"]


@pytest.mark.parametrize("name", ["compress", "reconstruct", "shorten", "compare", "verify", "interpolate", "sample"])
def test_what_waits_for_a_worker_can_be_refused(document: dict[str, Any], name: str) -> None:
    assert "overloaded" in responses(document, name)["429"]["content"][MEDIA_TYPE]["examples"]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_examples_are_real_problems(document: dict[str, Any], name: str) -> None:
    by_type = {kind.type: kind for kind in reversed(CLASSES.values())}
    for status, answer in responses(document, name).items():
        for type_, example in answer.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}).items():
            value = example["value"]
            assert value["type"] == TYPE_PREFIX + type_
            assert (value["status"], value["title"]) == (by_type[type_].status, by_type[type_].title)
            assert str(value["status"]) == status
            assert value.keys() == document["components"]["schemas"]["Problem"]["properties"].keys()


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_is_around_all_routes_is_documented(document: dict[str, Any], name: str) -> None:
    answers = responses(document, name)
    for status, type_ in (("400", "bad-request"), ("422", "invalid-parameter"), ("431", "head-too-large"),
                          ("500", "internal"), ("503", "too-many-connections")):  # fmt: skip
        assert type_ in answers[status]["content"][MEDIA_TYPE]["examples"]
    for answer in answers.values():
        assert "X-Request-Id" in answer["headers"]


@pytest.mark.parametrize("name", [name for name, (method, _) in OPERATIONS.items() if method == "post"])
def test_bodies_can_be_refused(document: dict[str, Any], name: str) -> None:
    answers = responses(document, name)
    for status, type_ in (("413", "body-too-large"), ("415", "unsupported-media-type"), ("429", "overloaded"),
                          ("503", "not-ready"), ("504", "deadline-exceeded")):  # fmt: skip
        assert type_ in answers[status]["content"][MEDIA_TYPE]["examples"]
    assert "Retry-After" in answers["429"]["headers"]


def test_generators_of_clients_know_every_body(document: dict[str, Any]) -> None:
    """openapi-python-client leaves out a body of any other type, and an answer that has none of these."""
    bodies = {"application/json", "application/octet-stream", "multipart/form-data"}
    answers = {"application/json", "application/octet-stream", "text/plain", MEDIA_TYPE}
    for method, path in OPERATIONS.values():
        operation = document["paths"][path][method]
        assert operation.get("requestBody", {"content": {}})["content"].keys() <= bodies
        assert all(answers & answer["content"].keys() for answer in operation["responses"].values())


def test_the_example_of_a_payload_is_a_real_one(document: dict[str, Any]) -> None:
    golden = (Path(__file__).parents[1] / "golden" / "cameo-128-5@32.cameo").read_bytes()
    found = [
        document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]["payload"]
        for path in ("/reconstruct", "/shorten")
    ]
    assert {base64.b64decode(payload, validate=True) for payload in found} == {golden}


@pytest.mark.parametrize("name", ["compress_batch", "reconstruct_batch"])
def test_the_example_of_a_stream_is_lines_of_json(document: dict[str, Any], name: str) -> None:
    example = responses(document, name)["200"]["content"]["application/x-ndjson"]["example"]
    *items, last = map(json.loads, example.splitlines())
    assert last == {"items": len(items), "failed": sum("problem" in item for item in items)}
    assert all(base64.b64decode(item["payload"], validate=True) for item in items if "payload" in item)


def test_nothing_of_the_framework_shows(document: dict[str, Any]) -> None:
    """FastAPI documents an error body of its own wherever nobody else does."""
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    for method, path in OPERATIONS.values():
        for parameter in document["paths"][path][method].get("parameters", []):
            assert parameter.get("description"), f"{path}: {parameter['name']}"


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    """Names, order, indentation and statuses; a class without a status is there for its subclasses only."""
    assert errors.__doc__ is not None
    drawn = re.findall(r"^    ((?:│   |    )*)(?:[├└]── )?([A-Z]\w+)\b *(\d{3})?", errors.__doc__, re.MULTILINE)
    parents: list[type[CameoError]] = []
    found = []
    for bars, name, status in drawn:
        depth = 0 if name == "CameoError" else len(bars) // 4 + 1
        kind = CLASSES[name]
        if depth:
            assert kind.__bases__ == (parents[depth - 1],), name
        parents[depth:] = [kind]
        if status:
            assert kind.status == int(status), name
        assert bool(status) == (not kind.__subclasses__()), name
        found.append(name)
    assert sorted(found) == sorted(CLASSES)


def test_types_are_unique_and_stable_in_form() -> None:
    leaves = [kind for kind in CLASSES.values() if not kind.__subclasses__()]
    types = [kind.type for kind in leaves]
    assert len(set(types)) == len(types) > 25
    for kind in leaves:
        assert re.fullmatch("[a-z]+(-[a-z]+)*", kind.type)
        assert kind.title
        assert not kind.title.endswith(".")
        assert 400 <= kind.status < 600
