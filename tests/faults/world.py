"""ECR, DynamoDB, SNS and SQS in memory, reached through the function's own botocore clients, failing on demand.

The function's code, its Powertools and its botocore run as they are, retries included; only the bytes on the wire are
replaced, by botocore's `before-send` hook. That makes a run fast, and every fault land on exactly the call it is for.
"""

import io
import json
import re
import threading
import time
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

type Json = dict[str, Any]
type Chunk = tuple[str, tuple[str, ...]]
"""A repository and the ids asked for in one call."""

FAULTS = ("refused", "timed out", "throttled", "5xx", "cut before", "cut after", "slow")
"""What may happen to a call. Only `cut after` and `slow` let it have its effect."""

ECR_LIMIT = 100
_ASSIGNMENT = re.compile(r"(#\w+) = (if_not_exists\(#\w+, )?(:\w+)")
_A_DAY_AGO = time.time() - 86_400


BEGIN_CONDITION = (
    "attribute_not_exists(#id) OR #expiry < :now OR "
    "(#status = :inprogress AND #until < :now_in_millis AND #validation = :validation)"
)
"""What `_may_begin` does in Python; another condition would be a function that this world does not know."""


class ServiceError(Exception):
    """An error that a service answers with: HTTP status, code, and further members of the answer."""

    def __init__(self, status: int, code: str, **members: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"__type": code, "message": code, **members}


@dataclass
class Fault:
    """One kind of failure of one service, at the calls whose numbers `strikes` accepts, until it is lifted."""

    service: str
    kind: str
    strikes: Callable[[int], bool]

    def lift(self) -> None:
        self.strikes = lambda _: False


@dataclass
class Image:
    """A digest with its tags and the time it was pushed, in seconds since the epoch."""

    tags: set[str]
    pushed: float = _A_DAY_AGO


@dataclass
class World:
    """What can be seen from outside: images, steps, notices, and what was asked of each service."""

    fault: Fault | None = None
    images: dict[str, dict[str, Image]] = field(default_factory=lambda: defaultdict(dict))
    steps: dict[str, Json] = field(default_factory=dict)
    notices: list[Json] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[Chunk] = field(default_factory=list)
    """Each deletion that reached ECR, in order."""
    finished: set[Chunk] = field(default_factory=set)
    """Those whose outcome is stored: nobody may ask for them again."""
    violations: list[str] = field(default_factory=list)
    _in_hand: dict[int, Chunk] = field(default_factory=dict)
    """What each thread asked ECR last."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def push(self, repository: str, tag: str, pushed: float = _A_DAY_AGO) -> str:
        """Pushes a new image under a tag, moving the tag if another image has it; returns its digest."""
        with self._lock:
            images = self.images[repository]
            for image in images.values():
                image.tags.discard(tag)
            digest = f"sha256:{len(images) + self.calls.total() * 10_000:064x}"
            images[digest] = Image({tag}, pushed)
            return digest

    def tags(self, repository: str) -> set[str]:
        return {tag for image in self.images[repository].values() for tag in image.tags}

    def let_time_pass(self) -> None:
        """Lets every step that a dead invocation left behind expire, as the visibility time-out outlives them all."""
        for item in self.steps.values():
            if item["status"] == {"S": "INPROGRESS"}:
                item["in_progress_expiration"] = {"N": "0"}

    def serve(self, *clients: Any) -> None:
        """Puts this world behind the clients."""
        for client in clients:
            client.meta.events.register("before-send", self._answer)

    def _answer(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        service, operation = event_name.split(".")[1:]
        return self.answer(service, operation, request.body, request.url)

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        """One call, with the fault that is due, if any; raises botocore's errors where no answer comes."""
        with self._lock:
            number = self.calls[service]
            self.calls[service] += 1
        fault = self.fault
        kind = fault.kind if fault and fault.service == service and fault.strikes(number) else None
        match kind:
            case "refused":
                raise EndpointConnectionError(endpoint_url=url)
            case "timed out":
                raise ReadTimeoutError(endpoint_url=url)
            case "cut before":
                raise ConnectionClosedError(endpoint_url=url)
            case "throttled":
                return response(400, json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded"}))
            case "5xx":
                return response(500, json.dumps({"__type": "ServerException", "message": "Internal failure"}))
            case "slow":
                time.sleep(0.02)
        with self._lock:
            answer = self._serve(operation, body)
        if kind == "cut after":
            raise ConnectionClosedError(endpoint_url=url)
        return answer

    def _serve(self, operation: str, body: Any) -> AWSResponse:
        if operation == "Publish":
            form = dict(urllib.parse.parse_qsl(body.decode() if isinstance(body, bytes) else body))
            self.notices.append(json.loads(json.loads(form["Message"])["default"]))
            result = f"<PublishResult><MessageId>{len(self.notices)}</MessageId></PublishResult>"
            return response(200, f"<PublishResponse>{result}</PublishResponse>")
        operations: dict[str, Callable[[Json], Json]] = {
            "BatchDeleteImage": self._batch_delete_image,
            "BatchGetImage": self._batch_get_image,
            "DescribeImages": self._describe_images,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
        }
        try:
            return response(200, json.dumps(operations[operation](json.loads(body))))
        except ServiceError as error:
            return response(error.status, json.dumps(error.body))

    def _named(self, repository: str, image_id: dict[str, str]) -> str | None:
        """The digest of the image that an id names."""
        if digest := image_id.get("imageDigest"):
            return digest if digest in self.images[repository] else None
        return next((d for d, i in self.images[repository].items() if image_id["imageTag"] in i.tags), None)

    def _batch_delete_image(self, call: Json) -> Json:
        repository, gone, failures = call["repositoryName"], [], []
        if len(call["imageIds"]) > ECR_LIMIT:
            raise ServiceError(400, "InvalidParameterException")
        ids = tuple(json.dumps(image_id) for image_id in call["imageIds"])
        if (repository, ids) in self.finished:
            self.violations.append(f"asked again although its outcome is stored: {ids[0]} and {len(ids) - 1} more")
        self.asked.append((repository, ids))
        self._in_hand[threading.get_ident()] = (repository, ids)
        for image_id in call["imageIds"]:
            digest = self._named(repository, image_id)
            if digest is None:
                failures.append({"imageId": image_id, "failureCode": "ImageNotFound", "failureReason": "Not found"})
                continue
            image = self.images[repository][digest]
            tags = {image_id["imageTag"]} if "imageTag" in image_id else set(image.tags)
            gone += [{"imageDigest": digest, "imageTag": tag} for tag in tags] or [{"imageDigest": digest}]
            image.tags -= tags
            if not image.tags:
                del self.images[repository][digest]
        return {"imageIds": gone, "failures": failures}

    def _batch_get_image(self, call: Json) -> Json:
        found = [(image_id, self._named(call["repositoryName"], image_id)) for image_id in call["imageIds"]]
        return {
            "images": [{"imageId": {**image_id, "imageDigest": digest}} for image_id, digest in found if digest],
            "failures": [
                {"imageId": image_id, "failureCode": "ImageNotFound", "failureReason": "Not found"}
                for image_id, digest in found
                if not digest
            ],
        }

    def _describe_images(self, call: Json) -> Json:
        images = self.images[call["repositoryName"]]
        digests = [image_id["imageDigest"] for image_id in call["imageIds"]]
        if missing := [digest for digest in digests if digest not in images]:
            raise ServiceError(400, "ImageNotFoundException", missing=missing)
        # ECR tells whole seconds.
        return {"imageDetails": [{"imageDigest": d, "imagePushedAt": int(images[d].pushed)} for d in digests]}

    def _update_item(self, call: Json) -> Json:
        key, values = call["Key"]["id"]["S"], call["ExpressionAttributeValues"]
        old = dict(self.steps.get(key, {}))
        if condition := call.get("ConditionExpression"):
            assert condition == BEGIN_CONDITION
            self._in_hand.pop(threading.get_ident(), None)
            if old and not _may_begin(old, values):
                raise ServiceError(400, "ConditionalCheckFailedException", Item=old)
        item = self.steps.setdefault(key, {"id": {"S": key}})
        for name, keep, value in _ASSIGNMENT.findall(call["UpdateExpression"]):
            attribute = call["ExpressionAttributeNames"][name]
            item[attribute] = item.get(attribute, values[value]) if keep else values[value]
        chunk = self._in_hand.get(threading.get_ident())
        if chunk and "imageIds" in json.loads(item.get("data", {"S": "{}"})["S"]):
            self.finished.add(chunk)
        return {"Attributes": old} if old else {}

    def _delete_item(self, call: Json) -> Json:
        self.steps.pop(call["Key"]["id"]["S"], None)
        return {}


def _may_begin(item: Json, values: Json) -> bool:
    """Whether a step is expired, or was begun by the same request and left."""
    return float(item["expiration"]["N"]) < float(values[":now"]["N"]) or (
        item["status"] == {"S": "INPROGRESS"}
        and float(item["in_progress_expiration"]["N"]) < float(values[":now_in_millis"]["N"])
        and item["validation"] == values[":validation"]
    )


class _Raw(io.BytesIO):
    """An HTTP body as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def response(status: int, body: str) -> AWSResponse:
    """An answer as botocore takes it from its HTTP layer."""
    return AWSResponse("http://loopback", status, HTTPHeaders(), _Raw(body.encode()))
