"""The outcomes of steps: values that are stored as JSON, and read again on a redelivery.

Stored JSON objects come back with sorted keys, so whatever has an order is a list.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from .images import ImageFailure, ImageId, Json
from .limits import truncate_to_fit
from .request import Action

_ENTRY_BYTES = len('["", null], ')
"""The least that an image takes as JSON: of 100,000, most are known not to fit without being measured."""


class Outcome(Protocol):
    """A value that a step stores."""

    @classmethod
    def from_json(cls, value: Json) -> Self: ...

    def to_json(self) -> Json: ...


class ChunkOutcome(NamedTuple):
    """The outcome of one chunk: each of its ids is among the deleted or among the failures, once."""

    image_ids: tuple[ImageId, ...] = ()
    """The deleted images, as ECR lists them: an entry per tag."""
    failures: tuple[ImageFailure, ...] = ()
    """One for each id of the chunk that was not deleted."""
    unconfirmed: tuple[ImageId, ...] = ()
    """Ids that are gone and that an earlier try, whose answer was lost, may have deleted."""
    omitted: int = 0
    """Entries of image_ids that were left out to fit the store."""
    activating: int = 0
    """How many of image_ids are still being restored."""
    bytes: int = 0
    """The size of what was archived or restored, layers that others share included."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(
            image_ids=_image_ids(value["imageIds"]),
            failures=_failures(value["failures"]),
            unconfirmed=_image_ids(value.get("unconfirmed", ())),
            omitted=value.get("omitted", 0),
            activating=value.get("activating", 0),
            bytes=value.get("changedBytes", 0),
        )

    def to_json(self) -> Json:
        value: Json = {"imageIds": self.image_ids, "failures": [_flat(failure) for failure in self.failures]}
        if self.activating:
            value["activating"] = self.activating
        if self.bytes:
            value["changedBytes"] = self.bytes
        if self.unconfirmed:
            value["unconfirmed"] = self.unconfirmed
        if self.omitted:
            value["omitted"] = self.omitted
        return value


class Family(NamedTuple):
    """One image, and the images that belong to it."""

    digest: str
    subject: str | None
    """The digest of what it refers to, if it is a signature or the like."""
    relatives: tuple[str, ...]
    """The digests of what it names, if it is an index, and of what has it as its subject."""


class FoundFamilies(NamedTuple):
    """The families of the first images of those that were looked for; a further step looks for the others."""

    families: tuple[Family | ImageFailure | None, ...]
    """In the order asked; None for an image that is not there, a failure where its relatives cannot be known."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        digests = [*value["digests"], None]

        def family(entry: list[Any] | None) -> Family | ImageFailure | None:
            match entry:
                case None:
                    return None
                case [int(digest), int(subject), *relatives]:
                    return Family(digests[digest], digests[subject], tuple(digests[n] for n in relatives))
            return _failures([entry])[0]

        return cls(tuple(map(family, value["families"])))

    def to_json(self) -> Json:
        """Each digest stands once, for many indexes may share their images; -1 is none."""
        numbers: dict[str, int] = {}

        def number(digest: str | None) -> int:
            return -1 if digest is None else numbers.setdefault(digest, len(numbers))

        families = [
            [number(f.digest), number(f.subject), *map(number, f.relatives)]
            if isinstance(f, Family)
            else f and _flat(f)
            for f in self.families
        ]
        return {"families": families, "digests": list(numbers)}


class Admission(NamedTuple):
    """The limits that held when a request was admitted: they hold for all of its receives and turns."""

    max_images: int
    max_percent: int
    repository_images: int
    """How many images the repository had; 0 where images are named."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(value["maxImages"], value["maxPercent"], value["repositoryImages"])

    def to_json(self) -> Json:
        return {
            "maxImages": self.max_images,
            "maxPercent": self.max_percent,
            "repositoryImages": self.repository_images,
        }


class Digests(NamedTuple):
    """Digests to be remembered."""

    digests: tuple[str, ...]

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(tuple(value["digests"]))

    def to_json(self) -> Json:
        return {"digests": self.digests}


class SelectionOutcome(NamedTuple):
    """The outcome of a selection."""

    selected: int = 0
    deleted: int = 0
    bytes: int = 0
    """The size of the deleted, layers that others share included."""
    kept: Mapping[str, int] = {}
    """How many images stay, by reason."""
    chunk: ChunkOutcome = ChunkOutcome()
    """The images that are deleted, and those that are not."""
    failures_omitted: int = 0
    """Failures that were left out to fit the store."""
    unconfirmed_omitted: int = 0
    continued_as: str | None = None
    """The requestId under which it goes on, where time ran short."""
    codes: Mapping[str, int] = {}
    """How many failures have each code, where some of them were left out."""
    in_use: tuple[ImageFailure, ...] = ()
    """Of the kept, some of those that are in use, and by whom."""
    action: Action = "delete"
    """What became of the images, which is not what was asked for where the stack has a grace period."""
    restorable_until: float | None = None
    """Until when they stay in the archive, where they were to be deleted; in seconds since the epoch."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(
            selected=value["selected"],
            deleted=value["deleted"],
            bytes=value["bytes"],
            kept=value["kept"],
            chunk=ChunkOutcome.from_json(value),
            failures_omitted=value["failuresOmitted"],
            unconfirmed_omitted=value["unconfirmedOmitted"],
            continued_as=value["continuedAs"],
            codes=value.get("codes", {}),
            in_use=_failures(value.get("inUse", ())),
            action=value.get("action", "delete"),
            restorable_until=value.get("restorableUntil"),
        )

    def to_json(self) -> Json:
        return {
            **self.chunk.to_json(),
            "selected": self.selected,
            "deleted": self.deleted,
            "bytes": self.bytes,
            "kept": self.kept,
            "failuresOmitted": self.failures_omitted,
            "unconfirmedOmitted": self.unconfirmed_omitted,
            "continuedAs": self.continued_as,
            **({"codes": dict(self.codes)} if self.codes else {}),
            **({"inUse": [_flat(failure) for failure in self.in_use]} if self.in_use else {}),
            **({"action": self.action} if self.action != "delete" else {}),
            **({} if self.restorable_until is None else {"restorableUntil": self.restorable_until}),
        }

    def truncated(self, limit: int) -> "SelectionOutcome":
        """Returns as much of it as `limit` bytes hold, the failures first."""
        whole = self.chunk
        codes = count_codes(whole.failures)

        def first(count: int) -> SelectionOutcome:
            failures = whole.failures[:count]
            unconfirmed = whole.unconfirmed[: count - len(failures)]
            image_ids = whole.image_ids[: count - len(failures) - len(unconfirmed)]
            omitted = whole.omitted + len(whole.image_ids) - len(image_ids)
            return self._replace(
                chunk=whole._replace(image_ids=image_ids, failures=failures, unconfirmed=unconfirmed, omitted=omitted),
                failures_omitted=len(whole.failures) - len(failures),
                codes=codes if len(failures) < len(whole.failures) else {},
                unconfirmed_omitted=len(whole.unconfirmed) - len(unconfirmed),
            )

        count = min(len(whole.failures) + len(whole.unconfirmed) + len(whole.image_ids), limit // _ENTRY_BYTES)
        return truncate_to_fit(first, count, lambda outcome: len(json.dumps(outcome.to_json())), limit)


class SentRequests(NamedTuple):
    """The repositories that a step of a fan-out has sent a request for, or will."""

    repository_names: tuple[str, ...]
    more: bool
    """Others are behind them."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(tuple(value["repositoryNames"]), value["more"])

    def to_json(self) -> Json:
        return {"repositoryNames": self.repository_names, "more": self.more}


class Published(NamedTuple):
    """A message that SNS or EventBridge took."""

    message_id: str

    @classmethod
    def from_json(cls, value: Json) -> Self:
        return cls(value["messageId"])

    def to_json(self) -> Json:
        return {"messageId": self.message_id}


def count_codes(failures: Iterable[ImageFailure]) -> Mapping[str, int]:
    """Returns how many failures have each code, by their names."""
    return dict(sorted(Counter(failure.code for failure in failures).items()))


def _flat(failure: ImageFailure) -> list[str | None]:
    return [*failure.image_id, failure.code, failure.reason]


def _image_ids(values: Sequence[Sequence[str | None]]) -> tuple[ImageId, ...]:
    return tuple(ImageId(digest, tag) for digest, tag in values)


def _failures(values: Sequence[Sequence[str]]) -> tuple[ImageFailure, ...]:
    return tuple(ImageFailure(ImageId(digest, tag), code, reason) for digest, tag, code, reason in values)
