"""The errors of requests that the schema refuses: what is wrong, in JSON's words, and what to write instead."""

import itertools
import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .models.request import quoted

if TYPE_CHECKING:
    from typing import Protocol

    class SchemaError(Protocol):
        """The error of a compiled schema: fastjsonschema's, or that of the package."""

        message: str
        name: str
        """Where it is, such as request.imageIds[0]."""
        value: Any
        """The value that stands there."""
        rule: str
        """The keyword that it breaks."""
        definition: Mapping[str, Any]
        """The part of the schema with that keyword."""


KEYS = (
    *("repositoryName", "repositoryNames", "imageIds", "selection", "allowPercent", "registryId", "requestId"),
    *("reason", "dryRun", "notify", "action", "untag", "cascade"),
)
"""Keys that a request may contain; a test compares them with the schema."""

_CHARACTERS = 240
"""Two lines. Advice that does not fit is left out."""
_SHOWN_CHARACTERS = 60
_COMPARED_KEYS = 20
_SIMILARITY = 0.75
"""As difflib counts it: "imageIDs" and "dry_run" are near enough, "region" and "reason" are not."""
_BY_TAG, _BY_DIGEST = ('write "imageIds": ["imageTag=TAG"]', 'write "imageIds": ["imageDigest=DIGEST"]')
_ADVICE = {
    **dict.fromkeys(("tag", "tags", "imagetag", "imagetags", "image", "images"), _BY_TAG),
    **dict.fromkeys(("digest", "digests", "imagedigest", "imagedigests"), _BY_DIGEST),
    "rules": 'write the "selection" of one rule of the lifecycle policy, as "selection"',
}
"""For keys that no other is near to, in lower case."""
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "an object",
    "string": "a string",
}
_PATTERNS = {
    "imageIds": '"imageTag=TAG", "imageDigest=DIGEST", or both with a comma between',
    "registryId": "an AWS account id, which has 12 digits",
    "repositoryName": 'a name as ECR has them, lower-case letters and digits with ".", "_", "-" or "/" between',
    "repositoryNames": 'a name as ECR has them, or a pattern in which "*" stands for any characters',
    "tagPatternList": '1 to 300 letters, digits, ".", "_", "-" and "*"',
    "tagPrefixList": '1 to 300 letters, digits, ".", "_" and "-"',
    "excludeTagPatternList": '1 to 300 letters, digits, ".", "_", "-" and "*"',
}

# Compiled by re when they are first used: most requests need none of them.
_IMAGE = (
    r"(?:(?:https?://)?(?P<host>[0-9]{12})\.dkr[^/]*/|arn:[^:]*:ecr:[^:]*:(?P<account>[0-9]{12}):repository/)?"
    r"(?P<repository>[^:@]+)(?::(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9._-]*))?(?:@(?P<digest>sha256:[0-9a-fA-F]{64}))?"
)
"""An image as docker pulls it, or a repository's ARN."""
_REPOSITORY = r"(?=..)[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*"
_REPOSITORIES = r"[a-z0-9*][a-z0-9._/*-]*"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]*"
_DIGEST = r"sha256:([0-9a-fA-F]*)"
_SEVERAL = r"""[^\s,"'[{]+(?:\s+[^\s,"'[{]+)+"""
_DIGITS = 64


class _Names(NamedTuple):
    """The parts of an image's name, as a request has them."""

    repository: str
    registry: list[str]
    """The registryId, if it is named."""
    shorthand: str
    """Tag and digest, if they are named."""


def misspelt_key(content: Mapping[str, Any]) -> str | None:
    """Returns the error of the first unknown key that is near to one of a request; None if there is none."""
    for key in itertools.islice((key for key in content if key not in KEYS), _COMPARED_KEYS):
        if advice := _nearest(key, KEYS) or _ADVICE.get(key.lower()):
            return _joined(f"request must not contain {_shown(key)}", advice)
    return None


def registry_uri(content: Mapping[str, Any]) -> str | None:
    """Returns the error of a repository that is named with its registry, which ECR would take for a name as well."""
    key = "repositoryName" if "repositoryName" in content else "repositoryNames"
    for value in [content[key]] if key == "repositoryName" else content[key]:
        if (image := _parsed(value, patterns=key == "repositoryNames")) and image.registry:
            problem = f"request.{key} must not be {_shown(value)}"
            return _joined(problem, _repository(key, value), f"{problem}; write repository and registryId apart")
    return None


def explain(error: "SchemaError") -> str:
    """Returns what the schema refuses, and what to write there."""
    name, value, definition = error.name, error.value, error.definition
    problem, advice = quoted(error.message), ""
    match error.rule:
        case "additionalProperties" if name == "request" and (misspelt := misspelt_key(value)):
            return misspelt
        case "additionalProperties":
            known = definition["properties"]
            key = next(key for key in value if key not in known)
            problem = f"{name} must not contain {_shown(key)}"
            advice = _nearest(key, known) or f"it may contain {', '.join(known)}"
        case "required":
            missing = next(key for key in definition["required"] if key not in value)
            problem = f'{name} must contain "{missing}"'
        case "type":
            types = definition["type"] if isinstance(definition["type"], list) else [definition["type"]]
            problem = f"{name} must be {' or '.join(_TYPES[kind] for kind in types)}, not {_shown(value)}"
            advice = _retyped(types[0], value)
        case "enum":
            *others, last = map(json.dumps, definition["enum"])
            problem = f"{name} must be {f'{", ".join(others)} or ' if others else ''}{last}, not {_shown(value)}"
            advice = "leave it out to get notices of failures alone" * name.endswith(".notify")
        case "pattern":
            key = name.rpartition(".")[2].partition("[")[0]
            advice = _image_id(value) if key == "imageIds" else _repository(key, value)
            general = f"{name} must be {_PATTERNS[key]}, not {_shown(value)}"
            return _joined(f"{name} must not be {_shown(value)}", advice, general)
    return _joined(problem, advice)


def _nearest(key: str, known: Collection[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  # a cold start has no use for it

    lower = {name.lower(): name for name in known}
    near = get_close_matches(key[:_SHOWN_CHARACTERS].lower(), lower, n=1, cutoff=_SIMILARITY)
    return f'write "{lower[near[0]]}"' if near else ""


def _retyped(kind: str, value: Any) -> str:
    """Returns how a value becomes one of this type, where that is likely what is meant."""
    match kind, value:
        case "string", int() if not isinstance(value, bool):
            return "put it in quotes"
        case "boolean", "true" | "false":
            return "leave out the quotes"
        case "integer", str() if value.isdecimal():
            return "leave out the quotes"
        case "array", str() if re.fullmatch(_SEVERAL, value):  # as the CLI takes them
            return f"write {json.dumps(value.split())}"
        case "array", str() | dict():
            return "put it in brackets, [ and ]"
    return ""


def _image_id(value: str) -> str:
    """Returns the shorthand of a tag, a digest or an image's name."""
    if digest := re.fullmatch(_DIGEST, value):
        short = f", with {_DIGITS} hex digits, not {digits}" if (digits := len(digest[1])) != _DIGITS else ""
        return f'write "imageDigest={"DIGEST" if short else value}"{short}'
    if re.fullmatch(_TAG, value):
        return f'write "imageTag={value}"'
    if (image := _parsed(value)) and image.shorthand:
        return _written(f'write "{image.shorthand}"', f'"repositoryName": "{image.repository}"', *image.registry)
    return ""


def _repository(key: str, value: str) -> str:
    """Returns how a pattern, or the parts of an image's name, are written instead of a repository's name."""
    if not key.startswith("repositoryName"):
        return ""
    if (image := _parsed(value, patterns=key == "repositoryNames")) and image.repository != value:
        ids = [f'"imageIds": ["{image.shorthand}"]'] if image.shorthand else []
        name = f'["{image.repository}"]' if key == "repositoryNames" else f'"{image.repository}"'
        return _written(f'write "{key}": {name}', *image.registry, *ids)
    is_pattern = key == "repositoryName" and "*" in value and re.fullmatch(_REPOSITORIES, value)
    return f'for a pattern, write "repositoryNames": ["{value}"]' if is_pattern else ""


def _parsed(value: str, *, patterns: bool = False) -> _Names | None:
    image = re.fullmatch(_IMAGE, value)
    if image is None:
        return None
    pattern = _REPOSITORIES if patterns and "*" in image["repository"] else _REPOSITORY
    if not re.fullmatch(pattern, image["repository"]):
        return None
    members = {"imageTag": image["tag"], "imageDigest": image["digest"]}
    return _Names(
        image["repository"],
        [f'"registryId": "{account}"'] if (account := image["host"] or image["account"]) else [],
        ",".join(f"{key}={member}" for key, member in members.items() if member),
    )


def _written(*parts: str) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _joined(problem: str, advice: str, otherwise: str = "") -> str:
    whole = f"{problem}; {advice}"
    return whole if advice and len(whole) <= _CHARACTERS else otherwise or problem


def _shown(value: Any) -> str:
    """Returns a value as JSON has it; never all of a large one."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            cut = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "..."
            return quoted(json.dumps(cut, ensure_ascii=False))
        case int() if value.bit_length() > _SHOWN_CHARACTERS:
            return "a number of that size"
    return json.dumps(value)
