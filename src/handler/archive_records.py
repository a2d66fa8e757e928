"""What this stack has archived: which image, when, by which request, and what belongs to it.

ECR tells when an image was archived, and not by whom; and it may not show what an archived index names. So each image
has an item, written before ECR is asked: nothing is archived without one. It is about the archiving that happened
between two times; an image that was archived at another time, was archived by somebody else.

An item belongs to a repository (partition key `id`) and is one of its images (sort key `step`, the digest). It has the
times `notBefore` and `notAfter`; the `request` and its `turn`; the `names` of what belongs to the image; `graceDays`,
where the image was to be deleted and is kept for that long; and an `expiration`. Times are in seconds since the epoch.
A further partition lists the repositories in which images are kept so.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from .models.errors import ServiceUnavailableError
from .models.images import Image, ListedImage
from .models.request import Key
from .step_table import StepTable, item_key, number, or_unavailable

_DAY = 24 * 60 * 60
RECORD_SECONDS = 500 * _DAY
"""How long it is remembered what belongs to an image, and which request archived it."""
_AFTER_GRACE_SECONDS = 90 * _DAY
"""The same of an image that is kept for a grace period, behind its end."""
CLOCK_SECONDS = 5
"""ECR's clock may be another one behind ours or ahead of it, and its times may be in whole seconds."""
_UNREAD = "DynamoDB did not tell what is in the archive"
_NAMES = 3_000
"""Digests that an item holds beside the rest: DynamoDB's limit is 400 KB."""
_REPOSITORIES: Key = ("archives",)
_REMEMBER = (
    "SET #notBefore = :notBefore, #notAfter = :notAfter, #request = :request, #turn = :turn, #expiration = :expiration"
)
_IS_OVER = "attribute_not_exists(#notAfter) OR #notAfter < :notBefore OR #notBefore < :restored"


class ArchiveRecord(NamedTuple):
    """What is known of one image that this stack has archived."""

    not_before: float
    not_after: float
    request_id: str
    turn: int = 0
    """Which of the messages that continued the request has archived it."""
    names: tuple[str, ...] | None = ()
    """The digests of what belongs to it; None where they are too many to be remembered."""
    grace_days: int | None = None
    """How many days it is kept that was to be deleted; None where it was to be archived."""

    def is_of(self, image: Image | ListedImage) -> bool:
        """Returns whether the image has been in the archive ever since."""
        if image.status != "ARCHIVED" or image.archived is None or (image.activated or 0.0) > self.not_before:
            return False
        return self.not_before - CLOCK_SECONDS <= image.archived <= self.not_after + CLOCK_SECONDS

    def may_have_ended(self, now: float) -> bool:
        """Returns whether a grace period can be over, whatever ECR says of the image."""
        return self.grace_days is not None and now > self.not_before - CLOCK_SECONDS + self.grace_days * _DAY

    def in_grace(self, image: ListedImage, now: float) -> bool:
        """Returns whether the image was to be deleted, and can still be restored instead."""
        return self.is_of(image) and now <= (image.archived or 0.0) + (self.grace_days or 0) * _DAY

    def grace_ended(self, image: ListedImage, now: float) -> bool:
        """Returns whether the image was to be deleted, and is to be now."""
        return self.grace_days is not None and self.is_of(image) and not self.in_grace(image, now)


class ArchiveRecords:
    """The records of one repository."""

    def __init__(self, table: StepTable, registry_id: str, repository_name: str) -> None:
        self._table = table
        self._repository = (registry_id, repository_name)
        self._key: Key = ("archived", *self._repository)
        self._open: dict[str, tuple[str, str]] = {}
        """The request and the `notAfter` of what this invocation has written, by digest."""

    def remember(
        self, image: Image, request_id: str, names: Sequence[str], grace_days: int | None, turn: int = 0
    ) -> None:
        """Writes the record of an image that is about to be archived, in this invocation.

        Another one may be about to do the same, or have done it: its record stays, and is about either. What one of
        them archives for good, has no grace period. Raises ServiceUnavailableError.
        """
        now, ends = time.time(), self._table.ends_at() / 1_000
        lasts = RECORD_SECONDS if grace_days is None else grace_days * _DAY + _AFTER_GRACE_SECONDS
        values: dict[str, Any] = {
            ":notBefore": number(now),
            ":notAfter": number(ends),
            ":request": {"S": request_id},
            ":turn": number(turn),
            ":restored": number(image.activated or 0.0),
            ":expiration": number(int(now) + lasts),
        }
        update, absent = _REMEMBER, []
        if len(names) <= _NAMES:
            update += ", #names = :names"
            values[":names"] = {"L": [{"S": name} for name in names]}
        else:
            absent.append("#names")
        if grace_days is None:
            absent.append("#graceDays")
        else:
            update += ", #graceDays = :graceDays"
            values[":graceDays"] = number(grace_days)
        if absent:
            update += f" REMOVE {', '.join(absent)}"
        met = self._update(self._key, image.digest, update, _IS_OVER, values)
        self._open[image.digest] = request_id, values[":notAfter"]["N"]
        if met is None:
            return
        update, until = "SET #notAfter = :notAfter", float(met["notAfter"]["N"])
        longer = {}
        if met["request"]["S"] == request_id:
            update += ", #turn = :turn"
            longer[":turn"] = number(turn)
        else:
            until += 0.001  # no longer what the other one may close
        longer[":notAfter"] = number(max(ends, until))
        self._open[image.digest] = request_id, longer[":notAfter"]["N"]
        if grace_days is None:
            update += " REMOVE #graceDays"
        elif float(met.get("graceDays", {"N": "inf"})["N"]) < grace_days:  # whichever promises to keep it longer
            update += ", #graceDays = :graceDays, #expiration = :expiration"
            longer |= {name: values[name] for name in (":graceDays", ":expiration")}
        self._update(self._key, image.digest, update, "", longer)

    def close(self, digest: str) -> None:
        """Says that an image was not archived that was about to be; whoever does it later, it is not this stack.

        Changes nothing where another request is about to archive it as well. Where DynamoDB does not take it, the
        record closes by itself when the invocation is over.
        """
        if digest not in self._open:
            return
        request_id, ends = self._open.pop(digest)
        values = {":now": number(time.time()), ":ends": {"N": ends}, ":request": {"S": request_id}}
        with suppress(ServiceUnavailableError):
            self._update(self._key, digest, "SET #notAfter = :now", "#request = :request AND #notAfter = :ends", values)

    def keep(self, digest: str) -> None:
        """Ends the grace period of an image that is in the archive, for it is to stay there."""
        self._update(self._key, digest, "REMOVE #graceDays", "attribute_exists(#graceDays)", {})

    def announce(self) -> None:
        """Lists the repository among those whose images are kept for a grace period."""
        values = {":expiration": number(int(time.time()) + RECORD_SECONDS)}
        self._update(_REPOSITORIES, json.dumps(self._repository), "SET #expiration = :expiration", "", values)

    def read(self) -> dict[str, ArchiveRecord]:
        """Returns the records by digest. Raises ServiceUnavailableError."""
        with or_unavailable(_UNREAD):
            return {item["step"]["S"]: _record(item) for item in self._table.items(self._key)}

    def names_of(self, digests: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Returns what belongs to some images, as far as it is remembered. Raises ServiceUnavailableError."""
        with or_unavailable(_UNREAD):
            items = {digest: self._table.item(self._key, digest) for digest in digests}
        records = {digest: _record(item) for digest, item in items.items() if item}
        return {digest: record.names for digest, record in records.items() if record.names is not None}

    def _update(
        self, key: Key, step: str, update: str, condition: str, values: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Writes an item. Returns None, or the item where a condition does not hold."""
        with or_unavailable("DynamoDB did not take the record of an image in the archive"):
            return self._table.update(item_key(key, step), update, condition, values)


def repositories_in_grace(table: StepTable) -> list[tuple[str, str]]:
    """Returns registry and name of each repository whose images are kept for a grace period.

    Raises ServiceUnavailableError.
    """
    with or_unavailable(_UNREAD):
        return [tuple(json.loads(item["step"]["S"])) for item in table.items(_REPOSITORIES)]


def _record(item: Any) -> ArchiveRecord:
    return ArchiveRecord(
        not_before=float(item["notBefore"]["N"]),
        not_after=float(item["notAfter"]["N"]),
        request_id=item["request"]["S"],
        turn=int(item["turn"]["N"]),
        names=tuple(name["S"] for name in item["names"]["L"]) if "names" in item else None,
        grace_days=int(item["graceDays"]["N"]) if "graceDays" in item else None,
    )
