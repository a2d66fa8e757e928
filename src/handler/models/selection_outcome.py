"""What a selection stores: what became of all its images, and the digests that it remembers."""

import json
from collections.abc import Mapping
from typing import NamedTuple, Self

from .images import ImageFailure, Json
from .limits import truncate_to_fit
from .outcomes import ChunkOutcome, count_codes, failures_of, flat
from .request import Action

_ENTRY_BYTES = len('["", null], ')
"""The least that an image takes as JSON: of 100,000, most are known not to fit without being measured."""


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
            in_use=failures_of(value.get("inUse", ())),
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
            **({"inUse": [flat(failure) for failure in self.in_use]} if self.in_use else {}),
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
