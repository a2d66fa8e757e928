"""The outcomes of steps: values that are stored as JSON, and read again on a redelivery.

Stored JSON objects come back with sorted keys, so whatever has an order is a list.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, Self

from .images import ImageFailure, ImageId, Json


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
            image_ids=image_ids_of(value["imageIds"]),
            failures=failures_of(value["failures"]),
            unconfirmed=image_ids_of(value.get("unconfirmed", ())),
            omitted=value.get("omitted", 0),
            activating=value.get("activating", 0),
            bytes=value.get("changedBytes", 0),
        )

    def to_json(self) -> Json:
        value: Json = {"imageIds": self.image_ids, "failures": [flat(failure) for failure in self.failures]}
        if self.activating:
            value["activating"] = self.activating
        if self.bytes:
            value["changedBytes"] = self.bytes
        if self.unconfirmed:
            value["unconfirmed"] = self.unconfirmed
        if self.omitted:
            value["omitted"] = self.omitted
        return value


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


def flat(failure: ImageFailure) -> list[str | None]:
    """Returns a failure as a step stores it: digest, tag, code and reason."""
    return [*failure.image_id, failure.code, failure.reason]


def image_ids_of(values: Sequence[Sequence[str | None]]) -> tuple[ImageId, ...]:
    """Returns ids as a step has stored them, each as its digest and its tag."""
    return tuple(ImageId(digest, tag) for digest, tag in values)


def failures_of(values: Sequence[Sequence[str]]) -> tuple[ImageFailure, ...]:
    """Returns failures as `flat` has them."""
    return tuple(ImageFailure(ImageId(digest, tag), code, reason) for digest, tag, code, reason in values)
