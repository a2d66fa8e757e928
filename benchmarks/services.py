"""ECR, DynamoDB and SNS as far as the function and its rivals use them: an operation and its body become an answer.

ECR answers as it really does: 100 ids a call, an entry with digest and tag for each, and each image goes
once. Every tag names an image of its own until it is deleted, so nothing needs to be pushed first.
"""

import functools
import hashlib
import itertools
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable
from types import CodeType
from typing import Any
from urllib.parse import parse_qs

type Json = dict[str, Any]
type Answer = tuple[int, bytes]
"""An HTTP status and a body."""

ECR_LIMIT = 100
_ASSIGNMENT = re.compile(r"(#\w+) = (?:if_not_exists\((#\w+), )?(:\w+)")


class ServiceError(Exception):
    """An error that a service answers with: its HTTP status, its code, and further members of the answer."""

    def __init__(self, status: int, code: str, message: str, **members: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"__type": code, "message": message, **members}


class TokenBucket:
    """Lets `burst` calls through at once and `rate` a second in the long run; everything when the rate is 0."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens = float("inf")
        self._filled = clock()

    def take(self, rate: float, burst: float) -> bool:
        """Whether a call may pass. Rate and burst may change from call to call; the bucket is full at the first."""
        if rate <= 0:
            self._tokens = float("inf")
            return True
        now = self._clock()
        self._tokens = min(burst, self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Services:
    """The state of all three. One thread serves it, so nothing is locked."""

    def __init__(self) -> None:
        self.write_units = 0
        """What DynamoDB would have charged for: one for each begun KB of the item, at each write."""
        self._deleted: dict[str, set[str]] = defaultdict(set)
        self._items: dict[str, dict[str, Json]] = defaultdict(dict)
        self._message_ids = itertools.count(1)
        self._operations: dict[str, Callable[[Json], Json]] = {
            "BatchDeleteImage": self._batch_delete_image,
            "BatchGetImage": self._batch_get_image,
            "DescribeImages": self._describe_images,
            "ListImages": self._list_images,
            "PutItem": self._put_item,
            "GetItem": self._get_item,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
        }

    def answer(self, operation: str, body: bytes) -> Answer:
        """Carries out one call."""
        try:
            if operation == "Publish":
                return 200, self._publish(parse_qs(body.decode()))
            if operation not in self._operations:
                raise ServiceError(400, "UnknownOperationException", operation)  # noqa: TRY301  # answered below
            return 200, json.dumps(self._operations[operation](json.loads(body))).encode()
        except ServiceError as error:
            return error.status, json.dumps(error.body).encode()

    def _batch_delete_image(self, call: Json) -> Json:
        if len(call["imageIds"]) > ECR_LIMIT:
            message = "Member must have length less than or equal to 100"
            raise ServiceError(400, "InvalidParameterException", message)
        deleted, gone, failures = self._deleted[call["repositoryName"]], [], []
        for image_id in call["imageIds"]:
            name = image_id.get("imageDigest") or image_id["imageTag"]
            if name in deleted:
                failures.append(
                    {
                        "imageId": image_id,
                        "failureCode": "ImageNotFound",
                        "failureReason": "Requested image not found",
                    }
                )
            else:
                deleted.add(name)
                gone.append({"imageDigest": _digest(name), **image_id})
        return {"imageIds": gone, "failures": failures}

    def _batch_get_image(self, call: Json) -> Json:
        deleted = self._deleted[call["repositoryName"]]
        there = [i for i in call["imageIds"] if (i.get("imageDigest") or i["imageTag"]) not in deleted]
        return {"images": [{"imageId": {"imageDigest": _digest(i.get("imageTag", "")), **i}} for i in there]}

    def _describe_images(self, call: Json) -> Json:
        """Those that are named; or a page of a repository `listing/N/…`, which has N images."""
        now = int(time.time())
        if "imageIds" in call:
            return {"imageDetails": [{"imagePushedAt": now - 86_400, **image_id} for image_id in call["imageIds"]]}
        numbers, further = _page(call)
        described = [
            {
                "registryId": "123456789012",
                "repositoryName": call["repositoryName"],
                "imageDigest": _digest(f"{number}"),
                "imageTags": [f"build-{number}"],
                "imageSizeInBytes": 50_000_000,
                "imagePushedAt": now - number,
                "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactMediaType": "application/vnd.oci.image.config.v1+json",
                "imageStatus": "ACTIVE",
            }
            for number in numbers
        ]
        return {"imageDetails": described, **further}

    def _list_images(self, call: Json) -> Json:
        numbers, further = _page(call)
        return {"imageIds": [{"imageDigest": _digest(f"{n}"), "imageTag": f"build-{n}"} for n in numbers], **further}

    def _put_item(self, call: Json) -> Json:
        return self._write(call, call["Item"]["id"]["S"], lambda _: call["Item"])

    def _get_item(self, call: Json) -> Json:
        item = self._items[call["TableName"]].get(call["Key"]["id"]["S"])
        return {"Item": item} if item else {}

    def _update_item(self, call: Json) -> Json:
        return self._write(call, call["Key"]["id"]["S"], lambda old: {**call["Key"], **old, **_assigned(call, old)})

    def _write(self, call: Json, key: str, new: Callable[[Json], Json]) -> Json:
        items = self._items[call["TableName"]]
        old = items.get(key, {})
        if "ConditionExpression" in call and not _holds(call, old):
            members = {"Item": old} if call.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else {}
            raise ServiceError(400, "ConditionalCheckFailedException", "The conditional request failed", **members)
        item = items[key] = new(old)
        size = sum(len(name) + len(text) for name, value in item.items() for text in value.values())
        self.write_units += -(-size // 1024)
        return {"Attributes": old} if old and call.get("ReturnValues") == "ALL_OLD" else {}

    def _delete_item(self, call: Json) -> Json:
        self._items[call["TableName"]].pop(call["Key"]["id"]["S"], None)
        return {}

    def _publish(self, form: dict[str, list[str]]) -> bytes:
        if "Message" not in form:
            raise ServiceError(400, "InvalidParameter", "Message")
        result = f"<PublishResult><MessageId>{next(self._message_ids)}</MessageId></PublishResult>"
        return f"<PublishResponse>{result}</PublishResponse>".encode()


def _page(call: Json) -> tuple[range, Json]:
    """The numbers of the images on the page that is asked for, and where the next begins."""
    total, start = int(call["repositoryName"].split("/")[1]), int(call.get("nextToken", 0))
    stop = min(total, start + call.get("maxResults", ECR_LIMIT))
    return range(start, stop), {"nextToken": str(stop)} if stop < total else {}


def _assigned(call: Json, old: Json) -> Json:
    """What the SET of an UpdateExpression gives to each attribute."""
    names, values = call["ExpressionAttributeNames"], call["ExpressionAttributeValues"]
    return {
        names[attribute]: old.get(names.get(kept), values[value])
        for attribute, kept, value in _ASSIGNMENT.findall(call["UpdateExpression"])
    }


def _holds(call: Json, old: Json) -> bool:
    """Whether the item meets the ConditionExpression. What it does not have compares as false to anything."""
    names, values = call["ExpressionAttributeNames"], call.get("ExpressionAttributeValues", {})
    item = {name: _plain(old[attribute]) for name, attribute in names.items() if attribute in old}
    scope = {"has": item.__contains__, "attribute": lambda name: item.get(name, math.nan)}
    scope["value"] = lambda name: _plain(values[name])
    return bool(eval(_condition(call["ConditionExpression"]), scope))  # noqa: S307  # written by the function itself


@functools.cache
def _condition(expression: str) -> CodeType:
    """A ConditionExpression as Python."""
    for pattern, python in (
        (r"attribute_not_exists\((#\w+)\)", r'not has("\1")'),
        (r"attribute_exists\((#\w+)\)", r'has("\1")'),
        (r'(?<!")(#\w+)', r'attribute("\1")'),
        (r"(:\w+)", r'value("\1")'),
        (r" = ", " == "),
        (r"\bAND\b", "and"),
        (r"\bOR\b", "or"),
    ):
        expression = re.sub(pattern, python, expression)
    return compile(expression, "condition", "eval")


def _plain(value: dict[str, str]) -> float | str:
    return float(value["N"]) if "N" in value else value["S"]


def _digest(name: str) -> str:
    return name if name.startswith("sha256:") else f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
