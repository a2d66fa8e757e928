"""A repository with something for each guard to refuse and to let go, and requests that are refused in part."""

from dataclasses import dataclass
from typing import Any

from tests.harness.outside import REPOSITORY, Outside

type Json = dict[str, Any]

MISSING = "sha256:" + "0" * 64
"""The digest of an image that is never there."""


def populate(stack: Outside) -> dict[str, str]:
    """Pushes the images; returns their digests by name."""
    digests = {
        "release": stack.push("prod", "v1"),
        "preview": stack.push("pr-1"),
        "old": stack.push("v0", "moved"),
        "new": stack.push("moved"),
        "child": stack.push(),
        "base": stack.push("base-tag"),
    }
    return digests | {"index": stack.push_index([digests["child"], digests["base"]], "1.0")}


def names_left(stack: Outside, digests: Json) -> set[str]:
    """Returns the tags that are there, and the names of the images."""
    left = stack.left()
    return stack.tags() | {name for name, digest in digests.items() if digest in left}


@dataclass(frozen=True)
class Case:
    """A request that a guard refuses in part."""

    image_ids: tuple[str, ...]
    """In shorthand, with digests by name in braces."""
    switches: Json
    variables: Json
    """The settings of the stack."""
    codes: tuple[str, ...] = ()
    """Of the failures, in order."""
    gone: frozenset[str] = frozenset()
    """Tags, and names of images."""

    def request(self, digests: Json) -> Json:
        """Returns it as it is sent."""
        image_ids = [image_id.format_map(digests) for image_id in self.image_ids]
        return {"repositoryName": REPOSITORY, "imageIds": image_ids, **self.switches}


_PREVIEW = frozenset({"preview", "pr-1"})
_INDEX = frozenset({"index", "1.0", "child"})
CASES = {
    "protected tag": Case(
        ("imageTag=prod", "imageDigest={release}", "imageTag=pr-1"),
        {},
        {"PROTECTED_TAGS": "latest,prod*"},
        ("ProtectedTag", "ProtectedTag"),
        _PREVIEW,
    ),
    "protected repository": Case(
        ("imageTag=pr-1", "imageDigest={release}"),
        {},
        {"PROTECTED_REPOSITORIES": "team/*"},
        ("ProtectedRepository", "ProtectedRepository"),
    ),
    "untag": Case(
        ("imageTag=v1", "imageTag=pr-1", "imageDigest={old}"),
        {"untag": True},
        {},
        ("LastTag", "TagRequired"),
        frozenset({"v1"}),
    ),
    "tag and digest": Case(
        ("imageDigest={old},imageTag=moved", "imageDigest={preview},imageTag=pr-1"),
        {},
        {},
        ("ImageTagDoesNotMatchDigest",),
        _PREVIEW,
    ),
    "cascade": Case(
        ("imageTag=1.0", "imageTag=gone"),
        {"cascade": True},
        {},
        ("ImageNotFound",),
        _INDEX,
    ),
    "all at once": Case(
        ("imageTag=1.0", "imageTag=prod", "imageDigest={old},imageTag=moved", "imageDigest={preview}"),
        {"cascade": True},
        {"PROTECTED_TAGS": "prod"},
        ("ProtectedTag", "ImageTagDoesNotMatchDigest"),
        _INDEX | _PREVIEW,
    ),
}
