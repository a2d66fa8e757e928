"""The table of what is in use: by repository, which images, by whom, and until when that is believed.

Rows only expire: what a source does not name any more may be missing on one page only. A source is believed until it
should have spoken again. All times are in seconds since the epoch.
"""

import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.models.errors import ServiceUnavailableError
from handler.models.images import ImageId

from .images import Use
from .reading import CLOCK_SECONDS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Item = dict[str, Any]
type RunAll = Callable[[Iterable[Callable[[], None]]], object]
"""Carries out tasks, perhaps side by side."""
type Known = dict[str, dict[str, float]]
"""By repository, until when each of its rows is believed."""

SOURCES = {"S": json.dumps(["sources"])}
"""The partition of the sources, an item each."""
_USER_CHARACTERS = 250
_LEAST_EXTENSION = 3_600
_EXTENSION = 1 / 8
"""A row is written for so much longer than it must last, so that not every reading has to write it again."""


class StoredUse(NamedTuple):
    """A use that the inventory knows of."""

    image_id: ImageId
    user: str
    source: str
    since: float
    """When it was first seen, without a break since."""
    expires: float


class Source(NamedTuple):
    """A source that has spoken."""

    began: float
    """When its last whole reading began, or when it last declared."""
    expires: float
    """Until when it is believed."""

    def is_ahead(self, now: float) -> bool:
        """Whether it was read in the future: a clock is wrong, or was, and nothing says how old the reading is."""
        return self.began > now + CLOCK_SECONDS

    def is_believed(self, now: float) -> bool:
        """Whether what it said counts: it is neither from the future nor too old."""
        return not self.is_ahead(now) and now < self.expires


class Inventory(NamedTuple):
    """The table of what is in use."""

    dynamodb: "DynamoDBClient"
    table: str

    def uses(self, repository_name: str) -> list[StoredUse]:
        """Returns what is in use of the repositories of this name, in whichever registry.

        Raises ServiceUnavailableError where the answer did not arrive whole.
        """
        now = time.time()
        return [use for item in self._query(_repository(repository_name)) if (use := _stored(item)).expires > now]

    def sources(self) -> dict[str, Source]:
        """Returns the sources that have been read whole, or have declared, at any time.

        Raises ServiceUnavailableError where the answer did not arrive whole.
        """
        return {
            item["item"]["S"]: Source(float(item["began"]["N"]), float(item["expires"]["N"]))
            for item in self._query(SOURCES)
            if "began" in item
        }

    def add(
        self,
        source: str,
        uses: Iterable[Use],
        *,
        seen: float,
        expires: float,
        run_all: RunAll,
        known: Known | None = None,
    ) -> None:
        """Remembers what a source says to be in use, until it expires at least.

        Never for a shorter time than is remembered already. A reading passes on what is `known` from one unit to the
        next, so that it asks for each repository once. Raises ServiceUnavailableError, and what DynamoDB and `run_all`
        raise.
        """
        known = {} if known is None else known
        rows: defaultdict[str, dict[str, Item]] = defaultdict(dict)
        for use in uses:
            item = _item(source, use)
            rows[use.image.repository_name][item["item"]["S"]] = item
        writes: list[Callable[[], None]] = []

        def compare(repository_name: str) -> None:
            if repository_name not in known:
                found = self._query(_repository(repository_name))
                known[repository_name] = {item["item"]["S"]: float(item["expiration"]["N"]) for item in found}
            for name, item in rows[repository_name].items():
                lasts = known[repository_name].get(name, 0.0)
                if lasts < expires:
                    new = {"since": number(seen)} if lasts <= now else {}  # or it was not in use for a while
                    writes.append(partial(write, repository_name, name, item | new))

        def write(repository_name: str, name: str, item: Item) -> None:
            self._set(_repository(repository_name), name, item, "expiration", until)
            known[repository_name][name] = until

        # In whole seconds, as DynamoDB reads them; an hour, for those who ask look at the source first.
        until = math.ceil(expires + max(_LEAST_EXTENSION, _EXTENSION * (expires - seen)))
        now = time.time()
        run_all(partial(compare, repository_name) for repository_name in rows)
        run_all(writes)

    def believe(self, source: str, *, began: float, expires: float) -> None:
        """Believes a source that was read whole, or has declared, unless it was read or has declared since.

        What was in the future is no later one: otherwise, a clock that was wrong once would keep the source from being
        known until the time comes.
        """
        self._set(SOURCES, source, {"expires": number(expires)}, "began", began, limit=time.time() + CLOCK_SECONDS)

    def _set(
        self, partition: Item, name: str, values: Item, growing: str, value: float, limit: float | None = None
    ) -> None:
        """Writes an item, unless one is there whose growing attribute is larger already, though within the limit."""
        values = {key: values[key] for key in values if key not in {"id", "item"}} | {growing: number(value)}
        given = {f":{key}": values[key] for key in values} | ({":limit": number(limit)} if limit else {})
        may_grow = f"attribute_not_exists(#{growing}) OR #{growing} < :{growing}"
        beyond = f" OR #{growing} > :limit" if limit else ""
        try:
            self.dynamodb.update_item(
                TableName=self.table,
                Key={"id": partition, "item": {"S": name}},
                UpdateExpression="SET " + ", ".join(f"#{key} = :{key}" for key in values),
                ConditionExpression=may_grow + beyond,
                ExpressionAttributeNames={f"#{key}": key for key in values},
                ExpressionAttributeValues=given,
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def _query(self, partition: Item) -> Iterable[Item]:
        pages = self.dynamodb.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="#id = :id",
            ExpressionAttributeNames={"#id": "id"},
            ExpressionAttributeValues={":id": partition},
            ConsistentRead=True,
        )
        for page in pages:
            # An answer that was cut short would look like that about a repository of which nothing is in use.
            if not isinstance(page.get("Items"), list):
                raise ServiceUnavailableError("DynamoDB's answer did not arrive whole")
            yield from page["Items"]


def _repository(name: str) -> Item:
    return {"S": json.dumps(["repository", name])}


def _item(source: str, use: Use) -> Item:
    """Returns a use as it is stored, under a name of its own: a hash, for together they may be too long for a key."""
    image, user = use.image, use.user[:_USER_CHARACTERS]
    name = json.dumps([source, user, image.registry_id, image.region, *image.image_id])
    values = {
        "item": hashlib.sha256(name.encode()).hexdigest(),
        "source": source,
        "user": user,
        "registryId": image.registry_id,
        "region": image.region,
        "digest": image.image_id.digest,
        "tag": image.image_id.tag,
    }
    return {key: {"S": value} for key, value in values.items() if value is not None}


def _stored(item: Item) -> StoredUse:
    return StoredUse(
        ImageId(item.get("digest", {}).get("S"), item.get("tag", {}).get("S")),
        item["user"]["S"],
        item["source"]["S"],
        float(item["since"]["N"]),
        float(item["expiration"]["N"]),
    )


def number(value: float) -> dict[str, str]:
    """Returns a number as DynamoDB takes it."""
    return {"N": str(value)}
