"""ECR, DynamoDB and SNS in memory, as far as the function and what it is compared with use them, and fast.

ECR is in fake_ecr, ECS and Lambda are in fake_workloads. Of a repository `.../in-use/N/...` N images are in use.
"""

import hashlib
import itertools
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from benchmarks import fake_workloads
from benchmarks.fake_ecr import FakeECR, Listed, ServiceError
from local.dynamodb_expressions import Item, holds, updated

type Json = dict[str, Any]
type Response = tuple[int, bytes]
"""An HTTP status and a body."""

_PAGE_BYTES = 1 << 20
"""What DynamoDB reads for one page of a Query."""
_UNIT_BYTES = {"read": 4096, "write": 1024}
_IN_USE = re.compile(r"in-use/([1-9]\d*)/")
_KEPT = 10
"""The newest images of a list, of which none is in use: a selection keeps them anyway."""


class FakeServices:
    """All three of them. One thread serves them, so nothing is locked."""

    def __init__(self) -> None:
        self.dynamodb = FakeDynamoDB()
        ecr, self._message_ids = FakeECR(), itertools.count(1)
        self._operations: dict[str, Callable[[Json], Json]] = {
            "BatchDeleteImage": ecr.batch_delete_image,
            "BatchGetImage": ecr.batch_get_image,
            "DescribeImages": ecr.describe_images,
            "DescribeRegistry": lambda _: {"replicationConfiguration": {"rules": []}},
            "ListImages": ecr.list_images,
            "GetItem": self.dynamodb.get_item,
            "Query": self.dynamodb.query,
            "UpdateItem": self.dynamodb.update_item,
        }

    def respond(self, path: str, operation: str, body: bytes) -> Response:
        """Does what one call asks for."""
        try:
            if operation == "Publish":
                result = f"<PublishResult><MessageId>{next(self._message_ids)}</MessageId></PublishResult>"
                return 200, f"<PublishResponse>{result}</PublishResponse>".encode()
            if operation in fake_workloads.OPERATIONS:
                return 200, json.dumps(fake_workloads.respond(path, operation, body)).encode()
            if operation not in self._operations:
                raise ServiceError(400, "UnknownOperationException", operation)  # noqa: TRY301  # below
            return 200, json.dumps(self._operations[operation](json.loads(body))).encode()
        except ServiceError as error:
            return error.status, json.dumps(error.body).encode()


class FakeDynamoDB:
    """Tables with a partition key `id` and a sort key of any name."""

    def __init__(self) -> None:
        self.units = dict.fromkeys(_UNIT_BYTES, 0)
        """Units that DynamoDB charges: of all that a consistent call reads, and of the item at each write."""
        self._partitions: dict[tuple[str, str], dict[str, Item]] = defaultdict(dict)

    def get_item(self, call: Json) -> Json:
        item = self._partition(call, call["Key"]["id"])[1].get(_sort_key(call["Key"]), {})
        self._charge("read", _size(item))
        return {"ConsumedCapacity": {}} | ({"Item": item} if item else {})

    def query(self, call: Json) -> Json:
        """Returns a page of the items of a partition; of a repository whose name says so, of what is in use of it."""
        [partition] = call["ExpressionAttributeValues"].values()
        (_, name), items = self._partition(call, partition)
        in_use = _IN_USE.search(name)
        found = _in_use(name, int(in_use[1])) if in_use and not items else [items[key] for key in sorted(items)]
        start = int(call.get("ExclusiveStartKey", {}).get("position", {"N": 0})["N"])
        size = 0
        for position in range(start, len(found)):
            size += _size(found[position])
            if size >= _PAGE_BYTES:
                self._charge("read", size)
                last = {"position": {"N": str(position + 1)}}
                return {"Items": found[start : position + 1], "LastEvaluatedKey": last}
        self._charge("read", size)
        return {"Items": found[start:]}

    def update_item(self, call: Json) -> Json:
        _, items = self._partition(call, call["Key"]["id"])
        key = _sort_key(call["Key"])
        old = items.get(key, {})
        if not holds(call, old):
            shown = {"Item": old} if old and call.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else {}
            raise ServiceError(400, "ConditionalCheckFailedException", "The conditional request failed", **shown)
        items[key] = updated(call, old)
        self._charge("write", _size(items[key]))
        return {}

    def _partition(self, call: Json, partition: Mapping[str, str]) -> tuple[tuple[str, str], dict[str, Item]]:
        """Returns the name of a partition, and its items by their sort keys."""
        name = (call["TableName"], partition["S"])
        return name, self._partitions[name]

    def _charge(self, kind: str, size: int) -> None:
        self.units[kind] += max(1, -(-size // _UNIT_BYTES[kind]))


def _sort_key(key: Mapping[str, Mapping[str, str]]) -> str:
    [value] = [typed["S"] for name, typed in key.items() if name != "id"]
    return value


def _size(item: Item) -> int:
    return sum(len(name) + len(str(value)) for name, typed in item.items() for value in typed.values())


@lru_cache(2)
def _in_use(partition: str, count: int) -> list[Item]:
    """Returns so many uses as the function that reads them stores them: half of them by digest, half by tag.

    Of a repository to be listed, they are images of that list, evenly spread over it.
    """
    listed = Listed.of(json.loads(partition)[-1])
    step = max(1, (listed.total - _KEPT) // count)
    items = []
    for n in range(count):
        number = _KEPT + step * n
        tag = f"build-{number}" if listed.total else f"used-{n}"
        items.append({
            "id": {"S": partition},
            "item": {"S": hashlib.sha256(tag.encode()).hexdigest()},
            "source": {"S": "ecs"},
            "user": {"S": f"ECS service web-{n} in cluster prod"},
            "registryId": {"S": "123456789012"},
            "region": {"S": "us-east-1"},
            **({"tag": {"S": tag}} if n % 2 else {"digest": {"S": listed.digest_of(tag)}}),
            "since": {"N": f"{time.time() - 86_400}"},
            "expiration": {"N": f"{time.time() + 86_400}"},
        })  # fmt: skip
    return sorted(items, key=lambda item: item["item"]["S"])
