"""The public contract of a request: a JSON Schema of which every keyword does its work."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from handler.events import parse_request
from handler.models import DeletionRequest, Origin, RejectedRequestError

SCHEMA = json.loads((Path(__file__).parents[2] / "src/handler/deletion_request.schema.json").read_text())
ITEMS = SCHEMA["properties"]["imageIds"]["items"]
NAME_PATTERN = SCHEMA["properties"]["repositoryName"]["pattern"]
SELECTION = SCHEMA["properties"]["selection"]["properties"]
ECR = get_session().get_service_model("ecr")
ACCOUNT = "123456789012"

ANNOTATIONS = {"$schema", "title", "description"}
STRUCTURE = {"properties", "items", "allOf"}
VALIDATION = {
    *("type", "enum", "additionalProperties", "required", "oneOf"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "minimum", "maximum"),
}

GOOD: dict[str, Any] = {
    "repositoryName": "ubuntu",
    "imageIds": [{"imageTag": "precise"}],
    "registryId": ACCOUNT,
    "requestId": "cleanup-1",
    "reason": "unused",
}


def request(**changes: Any) -> dict[str, Any]:
    """A good request but for these changes."""
    return GOOD | changes


def without(key: str) -> dict[str, Any]:
    """A good request that lacks a key."""
    return {name: value for name, value in GOOD.items() if name != key}


def selection(value: Any = None, /, **members: Any) -> dict[str, Any]:
    """A good request with a selection but for this."""
    meant = {"tagStatus": "untagged", "keepMostRecent": 1} | members if value is None else value
    return without("imageIds") | {"selection": meant}


def repositories(names: Any) -> dict[str, Any]:
    """A good request for several repositories but for this."""
    return without("repositoryName") | {"repositoryNames": names}


def parse(payload: Any) -> DeletionRequest:
    """What the service makes of a request."""
    return parse_request(payload, Origin("message", "m-1", "queue"), (ACCOUNT,), max_images=1_000, dry_run=False)


BREAKING: list[tuple[Any, str]] = [
    (["ubuntu"], "request must be object"),
    (request(tag="precise"), "request must not contain {'tag'} properties"),
    (request(imageids=[]), "request must not contain {'imageids'} properties"),
    (without("repositoryName"), "request must contain exactly one of repositoryName and repositoryNames"),
    (without("imageIds"), "request must contain exactly one of imageIds and selection"),
    (request(repositoryName=7), "request.repositoryName must be string"),
    (request(repositoryName=None), "request.repositoryName must be string"),
    (request(repositoryName="u"), "request.repositoryName must be longer than or equal to 2 characters"),
    (request(repositoryName="u" * 257), "request.repositoryName must be shorter than or equal to 256 characters"),
    (request(repositoryName="Ubuntu"), f"request.repositoryName must match pattern {NAME_PATTERN}"),
    (request(imageIds={"imageTag": "precise"}), "request.imageIds must be array"),
    (request(imageIds="imageTag=precise"), "request.imageIds must be array"),
    (request(imageIds=[]), "request.imageIds must contain at least 1 items"),
    (request(imageIds=[{"imageTag": "a"}, 1]), "request.imageIds[1] must be object or string"),
    (request(imageIds=[None]), "request.imageIds[0] must be object or string"),
    (
        request(imageIds=[{"imageTag": "a"}, {"tag": "b"}]),
        "request.imageIds[1] must not contain {'tag'} properties",
    ),
    (request(imageIds=[{"imageDigest": 1}]), "request.imageIds[0].imageDigest must be string"),
    (request(imageIds=[{"imageTag": None}]), "request.imageIds[0].imageTag must be string"),
    (request(imageIds=["precise"]), f"request.imageIds[0] must match pattern {ITEMS['pattern']}"),
    (request(registryId=123456789012), "request.registryId must be string"),
    (request(registryId="12345678901"), "request.registryId must match pattern ^[0-9]{12}$"),
    (request(requestId=1), "request.requestId must be string"),
    (request(requestId=""), "request.requestId must be longer than or equal to 1 characters"),
    (request(requestId="r" * 257), "request.requestId must be shorter than or equal to 256 characters"),
    (request(reason=["unused"]), "request.reason must be string"),
    (request(reason="r" * 257), "request.reason must be shorter than or equal to 256 characters"),
    (request(dryRun="yes"), "request.dryRun must be boolean"),
    (request(notify=1.5), "request.notify must be one of [True, False, 'always']"),
    (request(untag=None), "request.untag must be boolean"),
    (request(cascade="true"), "request.cascade must be boolean"),
    (request(allowPercent="all"), "request.allowPercent must be integer"),
    (request(allowPercent=0), "request.allowPercent must be bigger than or equal to 1"),
    (request(allowPercent=101), "request.allowPercent must be smaller than or equal to 100"),
    (repositories("team/app"), "request.repositoryNames must be array"),
    (repositories([]), "request.repositoryNames must contain at least 1 items"),
    (repositories(["team/app"] * 1001), "request.repositoryNames must contain less than or equal to 1000 items"),
    (repositories([7]), "request.repositoryNames[0] must be string"),
    (repositories(["u" * 257]), "request.repositoryNames[0] must be shorter than or equal to 256 characters"),
    (repositories(["Ubuntu"]), "request.repositoryNames[0] must match pattern ^[a-z0-9*][a-z0-9._/*-]*$"),
    (selection([]), "request.selection must be object"),
    (selection({}), "request.selection must contain ['tagStatus'] properties"),
    (selection(tagStatus="some"), "request.selection.tagStatus must be one of ['tagged', 'untagged', 'any']"),
    (selection(tagstatus="any"), "request.selection must not contain {'tagstatus'} properties"),
    (selection(countUnit="hours"), "request.selection.countUnit must be one of ['days']"),
    (
        selection(countType="always"),
        "request.selection.countType must be one of ['imageCountMoreThan', 'sinceImagePushed', 'sinceImagePulled']",
    ),
    *(
        case
        for key in ("countNumber", "keepMostRecent")
        for case in (
            (selection(**{key: "7"}), f"request.selection.{key} must be integer"),
            (selection(**{key: 0}), f"request.selection.{key} must be bigger than or equal to 1"),
            (selection(**{key: 100_001}), f"request.selection.{key} must be smaller than or equal to 100000"),
        )
    ),
    *(
        case
        for key in ("tagPatternList", "tagPrefixList", "excludeTagPatternList")
        for case in (
            (selection(**{key: "pr-*"}), f"request.selection.{key} must be array"),
            (selection(**{key: []}), f"request.selection.{key} must contain at least 1 items"),
            (selection(**{key: ["a"] * 101}), f"request.selection.{key} must contain less than or equal to 100 items"),
            (selection(**{key: [1]}), f"request.selection.{key}[0] must be string"),
            (
                selection(**{key: ["a b"]}),
                f"request.selection.{key}[0] must match pattern {SELECTION[key]['items']['pattern']}",
            ),
        )
    ),
]


def keywords(schema: dict[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    """Where each keyword stands that can refuse something."""
    for keyword in schema.keys() - ANNOTATIONS - STRUCTURE:
        yield (*path, keyword)
    for name, member in schema.get("properties", {}).items():
        yield from keywords(member, *path, "properties", name)
    if "items" in schema:
        yield from keywords(schema["items"], *path, "items")
    for i, member in enumerate(schema.get("allOf", [])):
        yield from keywords(member, *path, "allOf", str(i))


def broken(payload: Any) -> set[tuple[str, ...]]:
    """Where the keywords stand that a request breaks, in the judgement of another validator."""
    return {tuple(map(str, error.absolute_schema_path)) for error in Draft4Validator(SCHEMA).iter_errors(payload)}


def test_the_schema_is_valid() -> None:
    """Editors and EventBridge's schema registry take draft-04, and so does this file."""
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-04/schema#"
    Draft4Validator.check_schema(SCHEMA)


def test_the_schema_has_known_keywords_alone() -> None:
    """JSON Schema ignores a misspelt keyword without a word."""
    assert {path[-1] for path in keywords(SCHEMA)} == VALIDATION


def test_every_keyword_has_a_request_that_breaks_it() -> None:
    """A keyword that refuses nothing would be a promise nobody keeps."""
    assert set().union(*(broken(payload) for payload, _ in BREAKING)) == set(keywords(SCHEMA))


@pytest.mark.parametrize(("payload", "message"), BREAKING)
def test_a_request_that_breaks_the_contract_is_rejected(payload: Any, message: str) -> None:
    """The error names the path and what was expected there; each of these requests is wrong in one way alone."""
    assert len(broken(payload)) == 1 or not isinstance(payload, dict)
    with pytest.raises(RejectedRequestError) as error:
        parse(payload)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "payload",
    [
        GOOD,
        {"repositoryName": "ubuntu", "imageIds": ["imageTag=precise"]},
        request(repositoryName="ub"),
        request(repositoryName="u" * 256),
        request(requestId="r"),
        request(requestId="r" * 256),
        request(requestId="é" * 256),
        request(reason=""),
        request(reason="r" * 256),
        request(imageIds=[{}]),
        request(imageIds=[{"imageTag": "", "imageDigest": ""}]),
        request(imageIds=[{"imageTag": f"v{n}"} for n in range(1000)]),
    ],
)
def test_a_request_at_the_edge_of_the_contract_is_taken(payload: Any) -> None:
    """The limits themselves are allowed, and the schema says so to other validators too."""
    assert broken(payload) == set()
    assert parse(payload).repository_name == payload["repositoryName"]


NAMES = [
    ("ubuntu", True),
    ("team/app", True),
    ("a/b/c/d", True),
    ("a.b_c__d-e---f", True),
    ("0/1", True),
    ("ubuntu\n", False),
    ("\nubuntu", False),
    ("ubuntu ", False),
    ("Ubuntu", False),
    ("ubuntü", False),
    ("team/", False),
    ("/app", False),
    ("team//app", False),
    ("a..b", False),
    ("a___b", False),
    ("a._b", False),
    ("-a", False),
    ("a-", False),
    ("a.", False),
    ("a:b", False),
    ("arn:aws:ecr", False),
]


def taken(name: str) -> bool:
    """Whether a request may name this repository."""
    try:
        parse(request(repositoryName=name))
    except RejectedRequestError:
        return False
    return True


@pytest.mark.parametrize(("name", "valid"), NAMES)
def test_a_repository_name_is_ecrs(name: str, valid: bool) -> None:  # noqa: FBT001
    """Lower-case words, joined by single separators; a line break at the end is no part of any."""
    assert taken(name) is valid


@given(st.text("ab0._-/\n", max_size=12))
@example("ubuntu\n")
def test_a_repository_name_is_judged_as_by_ecr(name: str) -> None:
    """The pattern and the limits of ECR's own model decide, over the whole name."""
    limits = ECR.shape_for("RepositoryName").metadata
    valid = limits["min"] <= len(name) <= limits["max"] and re.fullmatch(limits["pattern"], name) is not None
    assert taken(name) is valid


def test_the_contract_has_ecrs_limits() -> None:
    """The limits of a repository's name and registry are those of ECR's own model."""
    name, registry = SCHEMA["properties"]["repositoryName"], SCHEMA["properties"]["registryId"]
    assert {"min": name["minLength"], "max": name["maxLength"]}.items() <= ECR.shape_for(
        "RepositoryName"
    ).metadata.items()
    assert registry["pattern"] == f"^{ECR.shape_for('RegistryId').metadata['pattern']}$"


def test_the_keys_of_the_api_are_keys_of_a_request() -> None:
    """What `--cli-input-json` takes is a request as it stands."""
    operation: Any = ECR.operation_model("BatchDeleteImage")
    members = operation.input_shape.members
    assert set(members) <= set(SCHEMA["properties"])
    assert set(members["imageIds"].member.members) == set(ITEMS["properties"])
