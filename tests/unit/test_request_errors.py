"""The contract of a request, keyword by keyword, and the errors of those who write their first one."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from handler import request_errors
from handler.models.errors import RejectedRequestError
from handler.request_parser import parse_request
from tests.values import ACCOUNT, digest, payload

SCHEMA = json.loads((Path(request_errors.__file__).with_name("deletion_request.schema.json")).read_text())
ECR = get_session().get_service_model("ecr")
ANNOTATIONS = {"$schema", "title", "description"}
STRUCTURE = {"properties", "items", "allOf"}
VALIDATION = {
    *("type", "enum", "additionalProperties", "required", "oneOf"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "minimum", "maximum"),
}
TWO_LINES = 240

GOOD: dict[str, Any] = {
    "repositoryName": "ubuntu",
    "imageIds": [{"imageTag": "precise"}],
    "registryId": ACCOUNT,
    "requestId": "cleanup-1",
    "reason": "unused",
}
URI = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
NAME = 'must be a name as ECR has them, lower-case letters and digits with ".", "_", "-" or "/" between, not'
SHORTHAND = 'must be "imageTag=TAG", "imageDigest=DIGEST", or both with a comma between, not'
NAMES = 'must be a name as ECR has them, or a pattern in which "*" stands for any characters, not'
EXACTLY_ONE = "request must contain exactly one of"
REGISTRY = f'"registryId": "{ACCOUNT}"'
COUNT_TYPES = (
    '"imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned" or "gracePeriodEnded"'
)
WORDS = [(True, "true"), (False, "false"), (None, "null"), ("never", '"never"')]


def request(**changes: Any) -> dict[str, Any]:
    """Returns a good request but for these changes."""
    return GOOD | changes


def without(key: str) -> dict[str, Any]:
    """Returns a good request that lacks a key."""
    return {name: value for name, value in GOOD.items() if name != key}


def selection(value: Any = None, /, **words: Any) -> dict[str, Any]:
    """Returns a good request with a selection but for this."""
    meant = {"tagStatus": "untagged", "keepMostRecent": 1} | words if value is None else value
    return without("imageIds") | {"selection": meant}


def repositories(names: Any) -> dict[str, Any]:
    """Returns a good request for several repositories but for this."""
    return without("repositoryName") | {"repositoryNames": names}


def rejection(content: Any) -> str | None:
    """Returns why a request is rejected; None if it is not."""
    try:
        parse_request(payload(content))
    except RejectedRequestError as error:
        return str(error)
    return None


def image_id(value: str, advice: str) -> tuple[Any, str]:
    """Returns a request with this image id, and the error that it gets."""
    return request(imageIds=[value]), f'request.imageIds[0] must not be "{value}"; write {advice}'


def repository(value: str, advice: str) -> tuple[Any, str]:
    """Returns a request with this repositoryName, and the error that it gets."""
    return request(repositoryName=value), f'request.repositoryName must not be "{value}"; {advice}'


def unknown_key(key: str, advice: str) -> tuple[Any, str]:
    """Returns a request with a further key, and the error that it gets."""
    return request(**{key: 1}), f'request must not contain "{key}"; {advice}'


IMAGE_ID_KEYS, KEYS, SELECTION_KEYS = (
    f"it may contain {', '.join(schema['properties'])}"
    for schema in (SCHEMA["properties"]["imageIds"]["items"], SCHEMA, SCHEMA["properties"]["selection"])
)
FIRST_DAY: list[tuple[Any, str]] = [
    image_id("pr-5", '"imageTag=pr-5"'),
    image_id("sha256:19665f", '"imageDigest=DIGEST", with 64 hex digits, not 6'),
    image_id("team/app:pr-5", '"imageTag=pr-5" and "repositoryName": "team/app"'),
    image_id(f"{URI}/app:5", f'"imageTag=5", "repositoryName": "app" and "registryId": "{ACCOUNT}"'),
    (
        request(imageIds=[digest(1)]),
        f'request.imageIds[0] must not be "{digest(1)[:60]}..."; write "imageDigest={digest(1)}"',
    ),
    unknown_key("imageIDs", 'write "imageIds"'),
    unknown_key("DryRun", 'write "dryRun"'),
    unknown_key("dry_run", 'write "dryRun"'),
    unknown_key("tags", 'write "imageIds": ["imageTag=TAG"]'),
    unknown_key("digests", 'write "imageIds": ["imageDigest=DIGEST"]'),
    unknown_key("rules", 'write the "selection" of one rule of the lifecycle policy, as "selection"'),
    unknown_key("region", KEYS),
    (without("imageIds") | {"imageIDs": []}, 'request must not contain "imageIDs"; write "imageIds"'),
    (request(imageIds=[{"imageTagg": "a"}]), 'request.imageIds[0] must not contain "imageTagg"; write "imageTag"'),
    (selection(storage="a"), f'request.selection must not contain "storage"; {SELECTION_KEYS}'),
    repository("team/*", 'for a pattern, write "repositoryNames": ["team/*"]'),
    repository("team/app:pr-5", 'write "repositoryName": "team/app" and "imageIds": ["imageTag=pr-5"]'),
    repository(f"{URI}/team/app", f'write "repositoryName": "team/app" and {REGISTRY}'),
    repository(
        f"https://{ACCOUNT}.dkr-ecr.eu-west-1.on.aws/app:v1",
        f'write "repositoryName": "app", {REGISTRY} and "imageIds": ["imageTag=v1"]',
    ),
    repository(f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/app", f'write "repositoryName": "app" and {REGISTRY}'),
    (
        request(repositoryName=f"{URI}/{'a' * 200}"),
        f'request.repositoryName must not be "{URI}/{"a" * 15}..."; write repository and registryId apart',
    ),
    (
        repositories([f"{URI}/app"]),
        f'request.repositoryNames must not be "{URI}/app"; write "repositoryNames": ["app"] and {REGISTRY}',
    ),
]
"""The mistakes that people make first, and what they read."""
NOTIFY = "leave it out to get notices of failures alone"
BREAKING: list[tuple[Any, str]] = [
    (["ubuntu"], "request must be an object, not a list"),
    (request(colour="red"), f'request must not contain "colour"; {KEYS}'),
    (without("repositoryName"), f"{EXACTLY_ONE} repositoryName and repositoryNames"),
    (without("imageIds"), f"{EXACTLY_ONE} imageIds and selection"),
    (request(repositoryName=None), "request.repositoryName must be a string, not null"),
    (request(repositoryName="u"), "request.repositoryName must be longer than or equal to 2 characters"),
    (request(repositoryName="u" * 257), "request.repositoryName must be shorter than or equal to 256 characters"),
    (request(repositoryName="Ubuntu"), f'request.repositoryName {NAME} "Ubuntu"'),
    (
        request(imageIds="imageTag=a imageTag=b"),
        'request.imageIds must be a list, not "imageTag=a imageTag=b"; write ["imageTag=a", "imageTag=b"]',
    ),
    (
        request(imageIds="imageTag=a, imageTag=b"),
        'request.imageIds must be a list, not "imageTag=a, imageTag=b"; put it in brackets, [ and ]',
    ),
    (request(imageIds="imageTag=a"), 'request.imageIds must be a list, not "imageTag=a"; put it in brackets, [ and ]'),
    (request(imageIds=[]), "request.imageIds must contain at least 1 items"),
    (request(imageIds=[{}, 1]), "request.imageIds[1] must be an object or a string, not 1"),
    (request(imageIds=[{"tag": "b"}]), f'request.imageIds[0] must not contain "tag"; {IMAGE_ID_KEYS}'),
    (
        request(imageIds=[{"imageDigest": 1}]),
        "request.imageIds[0].imageDigest must be a string, not 1; put it in quotes",
    ),
    (request(imageIds=[{"imageTag": None}]), "request.imageIds[0].imageTag must be a string, not null"),
    (request(imageIds=["imagetag=a"]), f'request.imageIds[0] {SHORTHAND} "imagetag=a"'),
    (request(registryId=123456789012), "request.registryId must be a string, not 123456789012; put it in quotes"),
    (request(registryId="1234"), 'request.registryId must be an AWS account id, which has 12 digits, not "1234"'),
    (request(requestId=1.5), "request.requestId must be a string, not 1.5"),
    (request(requestId=""), "request.requestId must be longer than or equal to 1 characters"),
    (request(requestId="r" * 257), "request.requestId must be shorter than or equal to 256 characters"),
    (request(reason=["unused"]), "request.reason must be a string, not a list"),
    (request(reason="r" * 257), "request.reason must be shorter than or equal to 256 characters"),
    (request(dryRun="true"), 'request.dryRun must be true or false, not "true"; leave out the quotes'),
    *(
        (request(notify=value), f'request.notify must be "always" or "summary", not {word}; {NOTIFY}')
        for value, word in WORDS
    ),
    (request(untag=1), "request.untag must be true or false, not 1"),
    (request(cascade="yes"), 'request.cascade must be true or false, not "yes"'),
    (request(allowPercent="all"), 'request.allowPercent must be a whole number, not "all"'),
    (request(allowPercent=0), "request.allowPercent must be bigger than or equal to 1"),
    (request(allowPercent=101), "request.allowPercent must be smaller than or equal to 100"),
    (repositories("team/app"), 'request.repositoryNames must be a list, not "team/app"; put it in brackets, [ and ]'),
    (repositories([]), "request.repositoryNames must contain at least 1 items"),
    (repositories(["team/app"] * 1001), "request.repositoryNames must contain less than or equal to 1000 items"),
    (repositories([7]), "request.repositoryNames[0] must be a string, not 7; put it in quotes"),
    (repositories(["u" * 257]), "request.repositoryNames[0] must be shorter than or equal to 256 characters"),
    (repositories(["Ubuntu"]), f'request.repositoryNames[0] {NAMES} "Ubuntu"'),
    (selection([]), "request.selection must be an object, not a list"),
    (selection({}), 'request.selection must contain "tagStatus"'),
    (selection(tagStatus="some"), 'request.selection.tagStatus must be "tagged", "untagged" or "any", not "some"'),
    (selection(tagstatus="any"), 'request.selection must not contain "tagstatus"; write "tagStatus"'),
    (selection(storageClass="a"), 'request.selection.storageClass must be "standard" or "archive", not "a"'),
    (selection(archivedBy=1), "request.selection.archivedBy must be a string, not 1; put it in quotes"),
    (selection(archivedBy=""), "request.selection.archivedBy must be longer than or equal to 1 characters"),
    (selection(archivedBy="x" * 601), "request.selection.archivedBy must be shorter than or equal to 600 characters"),
    (request(action="purge"), 'request.action must be "delete", "archive" or "restore", not "purge"'),
    (selection(countUnit="hours"), 'request.selection.countUnit must be "days", not "hours"'),
    (selection(countType="always"), f'request.selection.countType must be {COUNT_TYPES}, not "always"'),
    *(
        (selection(**{key: value}), f"request.selection.{key} must be {message}")
        for key in ("countNumber", "keepMostRecent")
        for value, message in (
            ("7", 'a whole number, not "7"; leave out the quotes'),
            (1.5, "a whole number, not 1.5"),
            (True, "a whole number, not true"),
            (0, "bigger than or equal to 1"),
            (100_001, "smaller than or equal to 100000"),
        )
    ),
    *(
        (selection(**{key: value}), f"request.selection.{key}{message}")
        for key, characters in (
            ("tagPatternList", '".", "_", "-" and "*"'),
            ("excludeTagPatternList", '".", "_", "-" and "*"'),
            ("tagPrefixList", '".", "_" and "-"'),
        )
        for value, message in (
            ("a", ' must be a list, not "a"; put it in brackets, [ and ]'),
            ([], " must contain at least 1 items"),
            (["a"] * 101, " must contain less than or equal to 100 items"),
            ([1], "[0] must be a string, not 1; put it in quotes"),
            *(([text], f'[0] must be 1 to 300 letters, digits, {characters}, not "{text}"') for text in ("", "v?")),
        )
    ),
]
"""Requests that are wrong in one way each, at least one for every keyword of the schema."""


@pytest.mark.parametrize(("content", "message"), FIRST_DAY + BREAKING)
def test_an_error_says_what_is_wrong_and_what_to_write(content: Any, message: str) -> None:
    """It names the place and what stands there, and the likely correction: in two lines, and in JSON's words."""
    assert rejection(content) == message
    assert len(message) <= TWO_LINES


MEBIBYTE = "k" * 2**20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({MEBIBYTE: 1}, EXACTLY_ONE),
        (dict.fromkeys(map(str, range(100_000))), EXACTLY_ONE),
        (request(**{MEBIBYTE: 1}), 'request must not contain "kkk'),
        (request(imageIds=[MEBIBYTE]), f"request.imageIds[0] {SHORTHAND}"),
        (request(imageIds=["sha256:" + "a" * 2**20]), 'request.imageIds[0] must not be "sha256:aaa'),
        (request(imageIds=[f"team/app:{MEBIBYTE}"]), f"request.imageIds[0] {SHORTHAND}"),
        (request(imageIds=['imageTag="' * 100_000]), f"request.imageIds[0] {SHORTHAND}"),
        (request(registryId=MEBIBYTE), "request.registryId must be an AWS account id"),
        (request(registryId=10**4_000), "request.registryId must be a string, not a number of that size"),
        (request(requestId=MEBIBYTE), "request.requestId must be shorter"),
        (request(repositoryName="*\ud800"), f"request.repositoryName {NAME}"),
        ({"imageIDs\ud800": 1}, 'request must not contain "imageIDs\\ud800"; write "imageIds"'),
    ],
    ids=lambda value: str(value)[:30],
)
def test_no_error_grows_with_the_request(content: Any, message: str) -> None:
    """A sender's words are quoted so that they can be recognised, never whole, and as text that can be published."""
    found = str(rejection(content))
    assert found.startswith(message)
    assert len(found.encode()) <= TWO_LINES


@pytest.mark.parametrize("nest", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_only_the_first_levels_of_a_request_are_read(nest: Any) -> None:
    """Lambda reads the payload of an invocation itself, and may read what is nested deeper than Python recurses."""
    inner: Any = {}
    for _ in range(sys.getrecursionlimit() * 3):
        inner = nest(inner)
    assert str(rejection(request(imageIds=[inner]))).startswith("request.imageIds[0] must ")
    assert str(rejection(request(registryId=inner))).startswith("request.registryId must be a string, not a")
    assert str(rejection(inner)).startswith("request must ")


def keywords(schema: dict[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    """Yields where each keyword stands that can refuse something."""
    for keyword in schema.keys() - ANNOTATIONS - STRUCTURE:
        yield (*path, keyword)
    for name, member in schema.get("properties", {}).items():
        yield from keywords(member, *path, "properties", name)
    if "items" in schema:
        yield from keywords(schema["items"], *path, "items")
    for i, member in enumerate(schema.get("allOf", [])):
        yield from keywords(member, *path, "allOf", str(i))


def broken(content: Any) -> set[tuple[str, ...]]:
    """Returns where the keywords stand that a request breaks, in the judgement of another validator."""
    return {tuple(map(str, error.absolute_schema_path)) for error in Draft4Validator(SCHEMA).iter_errors(content)}


def test_the_schema_is_draft_04_with_known_keywords_alone() -> None:
    """Editors and EventBridge's schema registry take it; a misspelt keyword would be ignored without a word."""
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-04/schema#"
    Draft4Validator.check_schema(SCHEMA)
    assert {path[-1] for path in keywords(SCHEMA)} == VALIDATION
    assert SCHEMA["properties"].keys() == set(request_errors.KEYS)


def test_every_keyword_has_a_request_that_breaks_it_alone() -> None:
    """A keyword that refuses nothing would be a promise that nobody keeps."""
    found = [broken(content) for content, _ in BREAKING]
    assert set().union(*found) == set(keywords(SCHEMA))
    assert {len(paths) for content, paths in zip(BREAKING, found, strict=True) if isinstance(content[0], dict)} == {1}


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        request(imageIds=["imageTag=precise"]),
        *(request(repositoryName=name) for name in ("ub", "u" * 256)),
        *(request(requestId=name) for name in ("r", "r" * 256, "é" * 256)),
        *(request(reason=text) for text in ("", "r" * 256)),
        *(request(imageIds=[value]) for value in ({}, {"imageTag": "", "imageDigest": ""})),
        request(imageIds=[{"imageTag": f"v{n}"} for n in range(1_000)]),
    ],
)
def test_a_request_at_the_edge_of_the_contract_is_taken(content: Any) -> None:
    """The limits themselves are allowed, and the schema says so to other validators too."""
    assert broken(content) == set()
    assert rejection(content) is None


@given(st.text("ab0._-/\n", max_size=12))
@example("ubuntu\n")
@example("a.b_c__d-e---f")
@example("a___b")
@example("Ubuntu")
def test_a_repository_name_is_judged_as_by_ecr(name: str) -> None:
    """The pattern and the limits of ECR's own model decide, over the whole name."""
    limits = ECR.shape_for("RepositoryName").metadata
    valid = limits["min"] <= len(name) <= limits["max"] and re.fullmatch(limits["pattern"], name) is not None
    assert (rejection(request(repositoryName=name)) is None) is valid


def test_the_contract_is_ecrs_own() -> None:
    """The input of `--cli-input-json` is a request as it stands, with the limits of ECR's model."""
    properties = SCHEMA["properties"]
    operation: Any = ECR.operation_model("BatchDeleteImage")
    members = operation.input_shape.members
    assert set(members) <= set(properties)
    assert set(members["imageIds"].member.members) == set(properties["imageIds"]["items"]["properties"])
    name, registry = properties["repositoryName"], properties["registryId"]
    limits = ECR.shape_for("RepositoryName").metadata
    assert (name["minLength"], name["maxLength"]) == (limits["min"], limits["max"])
    assert registry["pattern"] == f"^{ECR.shape_for('RegistryId').metadata['pattern']}$"
