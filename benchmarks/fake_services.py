"""ECR, DynamoDB and SNS in memory, as far as the function and what it is compared with use them, and fast.

ECR answers as the real one does: 100 ids a call, an entry with digest and tag for each, and an image is deleted once.
Every tag names an image of its own until it is deleted, so nothing needs to be pushed first.
"""

import hashlib
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.function_under_test import CHUNK_SIZE
from local.dynamodb_expressions import Item, holds, updated

type Json = dict[str, Any]
type Response = tuple[int, bytes]
"""An HTTP status and a body."""


class ServiceError(Exception):
    """An error that a service responds with: its HTTP status, its code, and further members of the response."""

    def __init__(self, status: int, code: str, message: str, **members: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"__type": code, "message": message, **members}


class FakeServices:
    """All three of them. One thread serves them, so nothing is locked."""

    def __init__(self) -> None:
        self.dynamodb = FakeDynamoDB()
        ecr, self._message_ids = FakeECR(), itertools.count(1)
        self._operations: dict[str, Callable[[Json], Json]] = {
            "BatchDeleteImage": ecr.batch_delete_image,
            "BatchGetImage": ecr.batch_get_image,
            "DescribeImages": ecr.describe_images,
            "ListImages": ecr.list_images,
            "GetItem": self.dynamodb.get_item,
            "Query": self.dynamodb.query,
            "UpdateItem": self.dynamodb.update_item,
        }

    def respond(self, operation: str, body: bytes) -> Response:
        """Does what one call asks for."""
        try:
            if operation == "Publish":
                result = f"<PublishResult><MessageId>{next(self._message_ids)}</MessageId></PublishResult>"
                return 200, f"<PublishResponse>{result}</PublishResponse>".encode()
            if operation not in self._operations:
                raise ServiceError(400, "UnknownOperationException", operation)  # noqa: TRY301  # below
            return 200, json.dumps(self._operations[operation](json.loads(body))).encode()
        except ServiceError as error:
            return error.status, json.dumps(error.body).encode()


class FakeECR:
    """Repositories in which every tag names an image; one called `listing/N/...` has N images to be listed."""

    def __init__(self) -> None:
        self._deleted: dict[str, set[str]] = defaultdict(set)

    def batch_delete_image(self, call: Json) -> Json:
        if len(call["imageIds"]) > CHUNK_SIZE:
            message = "Member must have length less than or equal to 100"
            raise ServiceError(400, "InvalidParameterException", message)
        there, failures = self._found(call)
        self._deleted[call["repositoryName"]].update(map(_name, there))
        return {"imageIds": [_with_digest(image_id) for image_id in there], "failures": failures}

    def batch_get_image(self, call: Json) -> Json:
        there, failures = self._found(call)
        images = [{"imageId": _with_digest(image_id), "imageManifest": "{}"} for image_id in there]
        return {"images": images, "failures": failures}

    def describe_images(self, call: Json) -> Json:
        """Returns the images that are named, or a page of all."""
        now = int(time.time())
        if "imageIds" in call:
            there, failures = self._found(call)
            if failures:
                raise ServiceError(400, "ImageNotFoundException", "Requested image not found")
            named = [(_with_digest(image_id), now - 86_400) for image_id in there]
            return {"imageDetails": [_detail(call, i["imageDigest"], i.get("imageTag"), pushed) for i, pushed in named]}
        page, rest = _page(call)
        details = [_detail(call, _digest(f"{number}"), f"build-{number}", now - number) for number in page]
        return {"imageDetails": details, **rest}

    def list_images(self, call: Json) -> Json:
        page, rest = _page(call)
        return {"imageIds": [{"imageDigest": _digest(f"{n}"), "imageTag": f"build-{n}"} for n in page], **rest}

    def _found(self, call: Json) -> tuple[list[Json], list[Json]]:
        """Returns the ids whose images are there, and the failures of the others."""
        deleted = self._deleted[call["repositoryName"]]
        there = [image_id for image_id in call["imageIds"] if _name(image_id) not in deleted]
        failures = [
            {"imageId": image_id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
            for image_id in call["imageIds"]
            if _name(image_id) in deleted
        ]
        return there, failures


class FakeDynamoDB:
    """One table with a partition key `id` and a sort key `step`, whatever it is called."""

    def __init__(self) -> None:
        self.write_units = 0
        """Write units that DynamoDB charges: one for each KB of the item, or part of one, at each write."""
        self._claims: dict[str, dict[str, Item]] = defaultdict(dict)

    def get_item(self, call: Json) -> Json:
        item = self._item(call["Key"])
        return {"ConsumedCapacity": {}} | ({"Item": item} if item else {})

    def query(self, call: Json) -> Json:
        """Returns all items of a partition."""
        [partition] = call["ExpressionAttributeValues"].values()
        items = self._claims[partition["S"]]
        return {"Items": [items[step] for step in sorted(items)]}

    def update_item(self, call: Json) -> Json:
        old = self._item(call["Key"])
        if not holds(call, old):
            shown = {"Item": old} if old and call.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else {}
            raise ServiceError(400, "ConditionalCheckFailedException", "The conditional request failed", **shown)
        item = self._claims[call["Key"]["id"]["S"]][call["Key"]["step"]["S"]] = updated(call, old)
        size = sum(len(name) + len(str(value)) for name, typed in item.items() for value in typed.values())
        self.write_units += -(-size // 1024)
        return {}

    def _item(self, key: Mapping[str, Any]) -> Item:
        return self._claims[key["id"]["S"]].get(key["step"]["S"], {})


def _page(call: Json) -> tuple[range, Json]:
    """Returns the numbers of the images on the page that is asked for, and where the next begins."""
    total, start = int(call["repositoryName"].split("/")[1]), int(call.get("nextToken", 0))
    stop = min(total, start + call.get("maxResults", CHUNK_SIZE))
    return range(start, stop), {"nextToken": str(stop)} if stop < total else {}


def _detail(call: Json, digest: str, tag: str | None, pushed: int) -> Json:
    """Returns an image as DescribeImages shows it."""
    return {
        "registryId": "123456789012",
        "repositoryName": call["repositoryName"],
        "imageDigest": digest,
        **({"imageTags": [tag]} if tag else {}),
        "imageSizeInBytes": 50_000_000,
        "imagePushedAt": pushed,
        "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactMediaType": "application/vnd.oci.image.config.v1+json",
        "imageStatus": "ACTIVE",
    }


def _name(image_id: Mapping[str, str]) -> str:
    return image_id.get("imageDigest") or image_id["imageTag"]


def _with_digest(image_id: Json) -> Json:
    return {"imageDigest": _digest(_name(image_id)), **image_id}


def _digest(name: str) -> str:
    return name if name.startswith("sha256:") else f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
