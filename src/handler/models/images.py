"""Images as ECR names, shows and lists them, and what guards and look-ups say of them."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

type Json = dict[str, Any]

# ECR answers a digest of another form, or a tag of another alphabet, with a failure of its own; a tag that is empty or
# longer than the API's 300 characters fails the whole call, and so costs the other ids theirs.
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,299}")
_SIGNATURE_TAG = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
_SHOWN_CHARACTERS = 1_000

INDEX_MEDIA_TYPES = frozenset({
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
})  # fmt: skip
"""Manifests that name other manifests."""
SIGNATURE_ENDINGS = ("", ".sig", ".att", ".sbom")
"""How the tag of a signature, an attestation or an SBOM ends; without ending it is the OCI fallback."""


class ImageId(NamedTuple):
    """An image as ECR's imageId names it: by digest, by tag, or by both."""

    digest: str | None = None
    tag: str | None = None

    @classmethod
    def from_json(cls, value: "ImageIdentifierTypeDef") -> Self:
        # There are thousands: this takes half the time of ImageId(...).
        return tuple.__new__(cls, (value.get("imageDigest"), value.get("imageTag")))

    def to_json(self) -> "ImageIdentifierTypeDef":
        value: ImageIdentifierTypeDef = {}
        if self.digest is not None:
            value["imageDigest"] = self.digest
        if self.tag is not None:
            value["imageTag"] = self.tag
        return value

    def __str__(self) -> str:
        """The CLI's shorthand."""
        return ",".join(f"{key}={value}" for key, value in self.to_json().items())

    def malformed(self) -> "ImageFailure | None":
        """Returns the failure ECR has for an id that can name no image; None when it can name one."""
        digest, tag = self
        if digest is None and tag is None:
            code, problem = "MissingDigestAndTag", "both tag and digest cannot be null"
        elif digest is not None and not _DIGEST.fullmatch(digest):
            code = "InvalidImageDigest"
            pattern = "image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"  # as ECR says it
            problem = f"{pattern}; it is sha256: and 64 hexadecimal digits"
        elif tag is not None and not _TAG.fullmatch(tag):
            code, problem = "InvalidImageTag", f"image tag should satisfy the regex '{_TAG.pattern}'"
        else:
            return None
        shown = ImageId(_truncated(digest), _truncated(tag))
        return ImageFailure(shown, code, f"Invalid request parameters: {problem}")


def _truncated(text: str | None) -> str | None:
    """Cuts a name to what may stand in an answer, a log entry or a notice; cut, it still names no image."""
    return text if text is None or len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def ids_of(image_ids: Iterable[ImageId]) -> set[ImageId]:
    """Returns every id that these images answer to: by digest, by tag and by both."""
    ids = set(image_ids)
    return ids | {ImageId(digest=i.digest) for i in ids} | {ImageId(tag=i.tag) for i in ids}


def signature_tags(digest: str) -> list[str]:
    """Returns the tags that a signature, attestation or SBOM of this image may have, where it has no subject."""
    return [f"{digest.replace(':', '-', 1)}{ending}" for ending in SIGNATURE_ENDINGS]


def signature_subject(tag: str) -> str | None:
    """Returns the digest of the image that a signature's tag is about; None for any other tag."""
    match = _SIGNATURE_TAG.fullmatch(tag)
    return f"sha256:{match[1]}" if match else None


def own_tags(tags: Iterable[str], subjects: Collection[str]) -> set[str]:
    """Returns the tags of an image that do not merely say that it is the signature of one of these subjects."""
    return {tag for tag in tags if signature_subject(tag) not in subjects}


class ImageFailure(NamedTuple):
    """An image that could not be deleted, as ECR's failures say it."""

    image_id: ImageId
    code: str
    reason: str

    def to_json(self) -> Json:
        return {"imageId": self.image_id.to_json(), "failureCode": self.code, "failureReason": self.reason}


class Image(NamedTuple):
    """An image as a look-up found it."""

    digest: str
    tags: frozenset[str]
    pushed: float
    """Seconds since the epoch, in whole seconds."""
    is_index: bool = False
    """It may name other manifests."""
    subject: str | None = None
    """The digest of the manifest that it refers to, as signatures do."""
    size: int = 0
    """Bytes, layers that it shares with others included."""
    status: str = "ACTIVE"
    """"ACTIVE", "ARCHIVED", or "ACTIVATING" while it is being restored from the archive."""
    archived: float | None = None
    """When it was last archived, in seconds since the epoch."""
    activated: float | None = None
    """When it was last restored from the archive."""


def unseen(image_id: ImageId, image: Image | ImageFailure | None) -> ImageFailure | None:
    """Returns the failure of an id that a look-up has not found: nothing is done on doubt."""
    if isinstance(image, ImageFailure):
        return image
    return ImageFailure(image_id, "ImageNotFound", "Requested image not found") if image is None else None


def moved(image_id: ImageId, image: Image | ImageFailure | None) -> ImageFailure | None:
    """Returns the failure of an id whose tag names another image than its digest."""
    if not isinstance(image, Image) or image_id.digest in (None, image.digest):
        return None
    reason = f"the tag names {image.digest} by now; if that image is meant, ask for it"
    return ImageFailure(image_id, "ImageTagDoesNotMatchDigest", reason)


class ListedImage(NamedTuple):
    """An image as it stands in the list of its repository; times are in seconds since the epoch."""

    digest: str
    tags: tuple[str, ...]
    pushed: float
    pulled: float | None
    """The last pull that ECR recorded."""
    size: int
    """Bytes, layers that it shares with others included."""
    is_index: bool
    """It may name other manifests."""
    subject: str | None
    """The digest of the manifest that it refers to, as signatures do."""
    status: str = "ACTIVE"
    """"ACTIVE", "ARCHIVED", or "ACTIVATING" while it is being restored from the archive."""
    activated: float | None = None
    """When it was last restored from the archive."""
    archived: float | None = None
    """When it was last archived."""


class NamedManifests(NamedTuple):
    """What the manifest of an image names: nothing, unless it is an index."""

    digest: str
    """Of the image itself."""
    named: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    """Those of them that are indexes in turn."""


type LookUp = Callable[[Sequence[ImageId]], Mapping[ImageId, Image | ImageFailure]]
"""Returns the images that the ids name at the moment, by tag where they have one; without those that are not there."""
type ReadManifests = Callable[[Sequence[ImageId]], Mapping[ImageId, NamedManifests | ImageFailure]]
"""Returns what images name; without those of which ECR says that they are not there."""
type Guard = Callable[[Sequence[ImageId], LookUp], Mapping[ImageId, ImageFailure]]
"""The ids that must not be deleted, and why."""
