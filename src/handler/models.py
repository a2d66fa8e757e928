"""The words: what is asked for, what became of it, and the errors that decide a request's fate."""

import bisect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

type Json = dict[str, Any]

# ECR answers a digest of another form, or a tag of another alphabet, with a failure of its own; a tag that is empty or
# longer than the API's 300 characters fails the whole call, and so costs the other ids theirs.
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,299}")
_SHOWN_CHARACTERS = 1_000

CHUNK_SIZE = 100
"""Image ids ECR takes in one call."""
STORED_BYTES = 350_000
"""What one outcome may take in its table: DynamoDB's limit is 400 KB an item."""
ANSWER_BYTES = 6_000_000
"""What the function may answer: Lambda's limit is 6,291,556 bytes for a synchronous response."""


class RejectedRequestError(Exception):
    """The request can never work: it breaks the contract, or its key belongs to another request."""

    told_before = False
    """Its notice was published on an earlier delivery."""


class NotNowError(Exception):
    """ECR refused or was not reached: nothing was done, and a later try may succeed."""


class LostAnswerError(Exception):
    """ECR was asked and its answer never came: it may have done what it was asked."""


class OutOfTimeError(Exception):
    """Too little of the invocation's time is left to finish another chunk; a redelivery goes on from here."""


# A request may hold tens of thousands of them, in sets and as keys: tuples are the fastest to make, hash and compare.
class ImageId(NamedTuple):
    """An image as ECR's imageId names it: by digest, by tag, or by both."""

    digest: str | None = None
    tag: str | None = None

    @classmethod
    def from_json(cls, value: "ImageIdentifierTypeDef") -> Self:
        # The constructor takes half as long again, and a large request waits for it before its first call.
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
        """The failure ECR has for an id that can name no image; None when it can."""
        if self.digest is None and self.tag is None:
            code, problem = "MissingDigestAndTag", "both tag and digest cannot be null"
        elif self.digest is not None and not _DIGEST.fullmatch(self.digest):
            code, problem = (
                "InvalidImageDigest",
                "image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
            )
        elif self.tag is not None and not _TAG.fullmatch(self.tag):
            code, problem = "InvalidImageTag", f"image tag should satisfy the regex '{_TAG.pattern}'"
        else:
            return None
        return ImageFailure(
            ImageId(_shown(self.digest), _shown(self.tag)), code, f"Invalid request parameters: {problem}"
        )


def _shown(text: str | None) -> str | None:
    """As much of a name as may stand in an answer, a log entry or a notice; what is cut is still no image's name."""
    return text if text is None or len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def names(image_ids: Iterable[ImageId]) -> set[ImageId]:
    """Every id that these images answer to: by digest, by tag and by both."""
    ids = set(image_ids)
    return ids | {ImageId(digest=i.digest) for i in ids} | {ImageId(tag=i.tag) for i in ids}


class ImageFailure(NamedTuple):
    """An image that could not be deleted, as ECR's failures tell it."""

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
    active: bool
    """It is not archived."""


class Selection(NamedTuple):
    """Which images of a repository are meant, in the words of ECR's lifecycle policies."""

    tag_status: str
    """"tagged", "untagged" or "any"."""
    tag_patterns: tuple[str, ...] = ()
    """Each is matched by a tag of the image."""
    exclude_tag_patterns: tuple[str, ...] = ()
    """None is matched by a tag of the image."""
    count_type: str | None = None
    """"imageCountMoreThan", "sinceImagePushed" or "sinceImagePulled"."""
    count_number: int = 0
    """Images, or days."""
    keep_most_recent: int = 0
    """Images that are left of those that match, the last pushed first."""


type LookUp = Callable[[Sequence[ImageId]], Mapping[ImageId, Image | ImageFailure]]
"""What the ids name at the moment, by their tag where they have one; those that ECR does not know are left out."""
type Guard = Callable[[Sequence[ImageId], LookUp], Mapping[ImageId, ImageFailure]]
"""The ids that must not be deleted, and why."""


class Origin(NamedTuple):
    """How a request arrived: as a message on a queue, an event on a bus, or an invocation by hand."""

    kind: str
    """"message", "event" or "invocation"."""
    id: str
    """Its messageId, event id or Lambda request id: the key of a request that brings none of its own."""
    source: str
    """The queue's ARN, the event's source, or the function's ARN."""

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "id": self.id, "source": self.source}

    def __str__(self) -> str:
        return f"{self.kind} {self.id} from {self.source}"


class DeletionRequest(NamedTuple):
    """One wish about one repository."""

    request_id: str
    repository_name: str
    image_ids: tuple[ImageId, ...]
    """Each once, in the order asked."""
    origin: Origin
    content_hash: str
    """SHA-256 over all that was asked: the same request_id with another hash is another request."""
    registry_id: str | None = None
    reason: str | None = None
    dry_run: bool = False
    """Nothing is deleted; the report says what would have been."""
    notify: bool = False
    """Its report is published also when nothing failed."""
    untag: bool = False
    """Tags are removed, and no image with them."""
    cascade: bool | None = None
    """What its images refer to, and what refers to them, goes along; or is counted, when it was said that it stays."""
    selection: Selection | None = None
    """Instead of image_ids, which images are meant."""
    allow_percent: int | None = None
    """The share of its repository that a selection may take, where that is not the stack's."""
    repository_names: tuple[str, ...] = ()
    """Instead of repository_name, names and patterns of names: the request is meant for each of these repositories."""
    payload: Mapping[str, Any] = {}
    """The request as it was sent."""

    @property
    def switches(self) -> Json:
        """Those that are set, as a request says them."""
        switches: Json = {"dryRun": self.dry_run, "notify": self.notify, "untag": self.untag}
        return {name: True for name, on in switches.items() if on} | (
            {} if self.cascade is None else {"cascade": self.cascade}
        )


class ChunkOutcome(NamedTuple):
    """What became of one chunk: the stored result of a step."""

    image_ids: tuple[ImageId, ...]
    """What ECR deleted, in its words: an entry per tag."""
    failures: tuple[ImageFailure, ...]
    """One for each id of the chunk that was not deleted."""
    omitted: int = 0
    """Entries of image_ids that were left out to fit the store."""
    replayed: bool = False
    """Remembered from an earlier delivery, not done now."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(
            tuple(ImageId(digest, tag) for digest, tag in value["imageIds"]),
            tuple(ImageFailure(ImageId(digest, tag), code, why) for digest, tag, code, why in value["failures"]),
            value["omitted"],
            value.get("replayed", False),
        )

    def to_json(self) -> Json:
        """Small, as it is stored once for each chunk."""
        return {
            "imageIds": [[i.digest, i.tag] for i in self.image_ids],
            "failures": [[f.image_id.digest, f.image_id.tag, f.code, f.reason] for f in self.failures],
            "omitted": self.omitted,
        }


class Relatives(NamedTuple):
    """What belongs to the images of a request: the manifests that an index names, and what has them as its subject."""

    parents: Mapping[str, Sequence[str]] = {}
    """For the digest of each relative, the digests of the indexes that name it, or of its subject."""
    failures: tuple[ImageFailure, ...] = ()
    """The ids whose relatives cannot be known."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(value["parents"], ChunkOutcome.from_json(value).failures)

    def to_json(self) -> Json:
        return {"parents": self.parents, **ChunkOutcome((), self.failures).to_json()}


class SelectionOutcome(NamedTuple):
    """What became of a selection: the stored result of its step."""

    selected: int
    deleted: int
    bytes: int
    """The size of the deleted, layers that others share included."""
    kept: Mapping[str, int]
    """How many images stay, by reason."""
    image_ids: tuple[ImageId, ...]
    """What ECR deleted, in its words."""
    failures: tuple[ImageFailure, ...]
    omitted: int = 0
    """Entries of image_ids that were left out to fit the store."""
    failures_omitted: int = 0
    continued_as: str | None = None
    """The requestId of the request that goes on, where time ran short."""
    replayed: bool = False

    @classmethod
    def from_json(cls, value: Json) -> Self:
        told = ChunkOutcome.from_json(value)
        return cls(
            **{key: value[key] for key in ("selected", "deleted", "bytes", "kept", "failures_omitted", "continued_as")},
            image_ids=told.image_ids,
            failures=told.failures,
            omitted=told.omitted,
            replayed=told.replayed,
        )

    def to_json(self, limit: int) -> Json:
        """Cut to `limit` bytes, failures last."""

        def first(count: int) -> Json:
            failures = self.failures[:count]
            image_ids = self.image_ids[: count - len(failures)]
            told = ChunkOutcome(image_ids, failures, self.omitted + len(self.image_ids) - len(image_ids))
            return told.to_json() | {
                "selected": self.selected,
                "deleted": self.deleted,
                "bytes": self.bytes,
                "kept": self.kept,
                "failures_omitted": len(self.failures) - len(failures),
                "continued_as": self.continued_as,
            }

        return largest(first, len(self.failures) + len(self.image_ids), lambda told: len(json.dumps(told)), limit)


class SpreadReport(NamedTuple):
    """A request for several repositories became one for each of these."""

    request: DeletionRequest
    repository_names: tuple[str, ...]

    def to_answer(self, registry_id: str) -> Json:
        return {
            "requestId": self.request.request_id,
            "registryId": self.request.registry_id or registry_id,
            "repositoryNames": list(self.repository_names),
        }


class DeletionReport(NamedTuple):
    """What became of a request: each id asked for is deleted or among the failures, once."""

    request: DeletionRequest
    image_ids: tuple[ImageId, ...]
    """What was deleted, relatives included."""
    failures: tuple[ImageFailure, ...]
    """What was not, those of relatives last."""
    omitted: int = 0
    """Entries of image_ids that were left out to fit the store."""
    failed_relatives: int = 0
    """Failures of images that were not asked for by name."""
    kept: tuple[ImageFailure, ...] = ()
    """Relatives that were meant to stay, and why."""
    left_untagged: int = 0
    """Relatives without tags that nothing of the request needs any more, left because it said so."""
    selection: SelectionOutcome | None = None
    """More of it, where the request is a selection."""
    replayed: bool = False
    """Every step was remembered from an earlier delivery: nothing was done now."""

    @property
    def deleted(self) -> int:
        """How many of the ids asked for, or selected, are deleted."""
        if self.selection:
            return self.selection.deleted
        return self.asked - len(self.failures)

    def to_answer(self, registry_id: str, limit: int = ANSWER_BYTES) -> Json:
        """The CLI's output and whose it is; cut to `limit` bytes, failures last, with counts of what was left out."""

        def first(count: int) -> Json:
            answer = self.first(count)
            return answer | {
                "requestId": self.request.request_id,
                "registryId": self.request.registry_id or registry_id,
                "repositoryName": self.request.repository_name,
            }

        return largest(first, self.entries, lambda answer: len(json.dumps(answer)), limit)

    @property
    def asked(self) -> int:
        """How many images the request is about, with the relatives that failed."""
        return self.selection.selected if self.selection else len(self.request.image_ids) + self.failed_relatives

    @property
    def failed(self) -> int:
        return len(self.failures) + self.failures_omitted

    @property
    def failures_omitted(self) -> int:
        """Failures that were left out to fit the store."""
        return self.selection.failures_omitted if self.selection else 0

    @property
    def entries(self) -> int:
        """How many images there is something to tell of."""
        return len(self.failures) + len(self.kept) + len(self.image_ids)

    def first(self, count: int) -> Json:
        """The first so many entries: failures, then what was kept, then what was deleted; the others are counted."""
        failures = self.failures[:count]
        kept = self.kept[: count - len(failures)]
        image_ids = self.image_ids[: count - len(failures) - len(kept)]
        told: Json = {
            "imageIds": [image_id.to_json() for image_id in image_ids],
            "failures": [failure.to_json() for failure in failures],
        }
        if self.request.dry_run:
            told["dryRun"] = True
        if self.kept:
            told["kept"] = [{"imageId": k.image_id.to_json(), "code": k.code, "reason": k.reason} for k in kept]
        if self.request.cascade is False:
            told["leftUntagged"] = self.left_untagged
        if self.selection:
            told |= {
                "selected": self.selection.selected,
                "deleted": self.selection.deleted,
                "bytesReclaimed": self.selection.bytes,
                "keptByReason": dict(self.selection.kept),
            }
            if self.selection.continued_as:
                told["continuedAs"] = self.selection.continued_as
        omitted = {
            "imageIdsOmitted": self.omitted + len(self.image_ids) - len(image_ids),
            "keptOmitted": len(self.kept) - len(kept),
            "failuresOmitted": self.failures_omitted + len(self.failures) - len(failures),
        }
        return told | {key: count for key, count in omitted.items() if count}


def largest[T](build: Callable[[int], T], count: int, size: Callable[[T], int], limit: int) -> T:
    """build(n) for the largest n up to `count` whose size is within `limit`; build(0) if none is."""
    whole = build(count)
    if size(whole) <= limit:
        return whole
    return build(bisect.bisect_right(range(1, count), limit, key=lambda n: size(build(n))))
