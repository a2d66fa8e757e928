"""A request to delete images: what was asked for, how it arrived, and the key under which it happens once."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

from .images import ImageId, Json

_QUOTED_CHARACTERS = 500

type Key = tuple[Any, ...]
"""A kind and an identifier within that kind, such as ("request", "close-pr-417"). Never a joined string."""


def key_hash(key: Sequence[Any]) -> str:
    """Returns a short name for a key: a hash of its JSON, for any separator could be part of a requestId."""
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


class Part(NamedTuple):
    """The request for one repository to which one for several has led: what its key says."""

    parent: Key
    repository_name: str
    """In another registry, name@registry."""
    mark: str
    """That of the claim under which it was sent."""

    @classmethod
    def of(cls, key: Key) -> Self | None:
        """Returns what a key says; None of a key of another kind."""
        match key:
            case ("child", [*parent], str(name), str(mark)):
                return cls(tuple(parent), name, mark)
        return None

    @property
    def key(self) -> Key:
        return ("child", *self)


def mark_of(generation: str) -> str:
    """Returns what a claim is known by in messages, from which its generation cannot be learned."""
    return key_hash(("mark", generation))[:32]


def parent_id(key: Key) -> str | None:
    """Returns the requestId of the request for several repositories that led to this one; None if none did."""
    part = Part.of(key)
    match part and part.parent:
        case (_, str(parent)):
            return parent
    return None


type Action = Literal["delete", "archive", "restore"]
"""What is to become of images."""
type Notify = Literal["failures", "always", "summary"]
type Effect = Literal["delete", "untag", "simulate"]
"""The kinds of deletion: of images, or of tags only; a dry run foresees what ECR would answer."""


class Registry(NamedTuple):
    """A private registry of ECR: an account in a region."""

    partition: str
    region: str
    account_id: str

    def repository_arn(self, repository_name: str, registry_id: str | None = None) -> str:
        """Returns the ARN of a repository here, or in another account of the region."""
        account_id = registry_id or self.account_id
        return f"arn:{self.partition}:ecr:{self.region}:{account_id}:repository/{repository_name}"


def quoted(text: str) -> str:
    """Returns a sender's words as they may stand in messages, logs and notices: never a megabyte of them.

    JSON can spell half a surrogate pair, which UTF-8 cannot hold.
    """
    return text[:_QUOTED_CHARACTERS].encode(errors="backslashreplace").decode()


def declares_use(content: Any) -> bool:
    """Returns whether what was sent says which images are in use, instead of asking for a deletion."""
    return isinstance(content, dict) and "imagesInUse" in content


ORIGINS = ("message", "schedule", "event", "invocation")
"""The ways in which a request arrives."""


class Origin(NamedTuple):
    """How a request arrived, and from whom."""

    kind: str
    """One of ORIGINS."""
    id: str
    """Its messageId, event id or Lambda request id: the key of a request that brings none of its own."""
    source: str
    """The queue's or the schedule's ARN, the event's source, or the function's ARN."""
    sender: str | None = None
    """Who sent it: SQS's SenderId of a message, the account of an event; not known of an invocation."""

    def to_json(self) -> dict[str, str | None]:
        return {"kind": self.kind, "id": self.id, "source": self.source, "sender": self.sender}

    def __str__(self) -> str:
        return f"{self.kind} {self.id} from {self.source}" + (f", sent by {self.sender}" if self.sender else "")


class Arrival(NamedTuple):
    """One record of a batch, or the event of a direct invocation, before it is read."""

    origin: Origin
    received_before: bool
    """It may have been received before: a record on a later receive, or an invocation that Lambda may repeat."""
    read: "Callable[[], Payload]"
    internal: bool = False
    """It comes from the bulk queue, to which only the stack itself sends, and who sends dead letters back."""

    @property
    def key(self) -> Key:
        return (self.origin.kind, self.origin.id)

    @property
    def is_queued_among_others(self) -> bool:
        """Whether requests that name images may wait behind it."""
        return self.origin.kind == "message" and not self.internal


class Payload(NamedTuple):
    """A request as it was sent, out of its envelope."""

    content: Any
    origin: Origin
    key: Key
    """Of the envelope; a requestId in the content comes first, unless the function itself has sent the message."""
    request_id: str | None = None
    """Of a message that the function itself has sent, for people to read."""
    turn: int = 0
    taken: int = 0
    seal: str | None = None
    """The proof that who has claimed the request has sent the message."""
    forwarded: Key | None = None
    """The key of the arrival on the request queue that was forwarded."""
    sent: float | None = None
    """When, in seconds since the epoch, as the queue or the bus says; None of an invocation."""
    is_result: bool = False
    """It is an event that says what became of a request."""

    @property
    def declares_use(self) -> bool:
        """Whether it says which images are in use, instead of asking for a deletion."""
        return declares_use(self.content)

    @property
    def named_content(self) -> Any:
        """The content, with the requestId by which people know a message that the function itself has sent."""
        if self.request_id is None or not isinstance(self.content, dict):
            return self.content
        return {**self.content, "requestId": self.request_id}


class Selection(NamedTuple):
    """Which images of a repository are meant, in the words of ECR's lifecycle policies."""

    tag_status: str
    """"tagged", "untagged" or "any"."""
    tag_patterns: tuple[str, ...] = ()
    """Each is matched by a tag of the image."""
    exclude_tag_patterns: tuple[str, ...] = ()
    """None is matched by a tag of the image."""
    count_type: str | None = None
    """"imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned" or "gracePeriodEnded"."""
    count_number: int = 0
    """Images, or days."""
    keep_most_recent: int = 0
    """Images that are left of those that match, the last pushed first."""
    storage_class: str = "standard"
    """"standard" or "archive": images of the other are not meant."""
    archived_by: str | None = None
    """The requestId of the request that archived them."""

    @property
    def of_archive(self) -> bool:
        """Whether archived images are meant."""
        return self.storage_class == "archive"


class DeletionRequest(NamedTuple):
    """A request about one repository; with repository_names, about each of several."""

    key: Key
    request_id: str
    """The key as people read it."""
    repository_name: str
    image_ids: tuple[ImageId, ...]
    """Each once, in the order asked."""
    origin: Origin
    content_hash: str
    """SHA-256 over all that was sent: the same key with another hash is another request."""
    registry_id: str | None = None
    reason: str | None = None
    dry_run: bool = False
    """Nothing is deleted; the report says what would have been."""
    notify: Notify = "failures"
    """When its report is published: where something failed; always; or, of several repositories, as one summary."""
    action: Action = "delete"
    untag: bool = False
    """Tags are removed, and no image with them."""
    cascade: bool | None = None
    """True: relatives are deleted too; False: they stay, and are counted; None: they stay, and no look-up is made."""
    selection: Selection | None = None
    """Instead of image_ids, which images are meant."""
    allow_percent: int | None = None
    """The share of its repository that a selection may take, where that is not the stack's."""
    repository_names: tuple[str, ...] = ()
    """Instead of repository_name, names and patterns of names: each of these repositories gets a separate request."""
    turn: int = 0
    """How many messages the selection was continued by before this one."""
    taken: int = 0
    """What those have deleted, archived or restored: images, or tags."""
    generation: str | None = None
    """The claim that a later turn goes on with."""
    payload: Mapping[str, Any] = {}
    """The request as it was sent."""

    @property
    def is_bulk(self) -> bool:
        """Whether it may list a whole repository, which takes minutes: it must keep nobody waiting who names images."""
        return self.selection is not None or bool(self.repository_names) or self.action == "archive"

    @property
    def effect(self) -> Effect:
        """What BatchDeleteImage is asked for."""
        if self.dry_run:
            return "simulate"
        return "untag" if self.untag else "delete"

    @property
    def finds_relatives(self) -> bool:
        """Whether it is also about what belongs to the images that it names."""
        return self.cascade is not None or self.action != "delete"

    @property
    def root_id(self) -> str:
        """The requestId of the request that a further turn goes on with."""
        return self.request_id.removesuffix(f"#{self.turn}") if self.turn else self.request_id

    @property
    def part_of(self) -> str:
        """The requestId of what was sent: this one, or that of which this is a turn, or the part for one repository."""
        return parent_id(self.key) or self.root_id

    @property
    def switches(self) -> Json:
        """Returns those that are set, as a request says them."""
        switches: Json = {}
        if self.dry_run:
            switches["dryRun"] = True
        if self.notify == "always" or (self.notify == "summary" and self.repository_names):
            switches["notify"] = self.notify
        if self.action != "delete":
            switches["action"] = self.action
        if self.untag:
            switches["untag"] = True
        if self.cascade is not None:
            switches["cascade"] = self.cascade
        return switches
