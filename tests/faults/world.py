"""ECR, DynamoDB, SNS and SQS in memory, reached through the function's own botocore clients, failing on demand.

The function's code, its Powertools and its botocore run as they are, retries included; only the bytes on the wire are
replaced, by botocore's `before-send` hook. That makes a run fast, and every fault land on exactly the call it is for.

Tags and digests must be unique over all repositories, and each image asked for by one request alone and in one way, so
that what is stored of it is its fate.
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
from time import sleep
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

type Json = dict[str, Any]
type Chunk = tuple[str, tuple[str, ...]]
"""A repository and the tags asked for in one call, or the digests, where an id has no tag."""

FAULTS = ("refused", "timed out", "throttled", "5xx", "cut before", "cut after", "slow")
"""What may happen to a call. Only `cut after` and `slow` let it have its effect."""

ECR_LIMIT = 100
VISIBILITY_SECONDS = 720
"""How long a message is hidden once it was received, as the template has it."""
RETRIED = {"ImageReferencedByManifestList", "StillUsed", "UpstreamTooManyRequests", "UpstreamUnavailable", "KmsError"}
"""Failures after which an image may be asked for again."""
_ASSIGNMENT = re.compile(r"(#\w+) = (if_not_exists\(#\w+, )?(:\w+)")
_SLOW_SECONDS = 0.02
_PAGE = 40  # images; ECR may give fewer than it is asked for
_INDEX = "application/vnd.oci.image.index.v1+json"
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
    """Or one operation."""
    kind: str
    strikes: Callable[[int], bool]

    def lift(self) -> None:
        self.strikes = lambda _: False


@dataclass
class Image:
    """Its tags, the time it was pushed, in seconds since the epoch, and what it refers to, by digest."""

    tags: set[str]
    pushed: float = _A_DAY_AGO
    children: tuple[str, ...] = ()
    """What it names, if it is an index."""
    subject: str | None = None


@dataclass
class World:
    """What can be seen from outside: images, steps, notices, and what was asked of each service."""

    fault: Fault | None = None
    images: dict[str, dict[str, Image]] = field(default_factory=lambda: defaultdict(dict))
    steps: dict[str, Json] = field(default_factory=dict)
    notices: list[Json] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    """How often each service was called."""
    operations: Counter[str] = field(default_factory=Counter)
    """How often each operation was."""
    sent: list[str] = field(default_factory=list)
    """Messages for the request queue."""
    pushes: int = 0
    """How many images were ever pushed."""
    asked: list[Chunk] = field(default_factory=list)
    """Each deletion that reached ECR, in order."""
    settled: set[str] = field(default_factory=set)
    """The tags, and digests, whose fate is stored: nobody may ask for them again, whatever was pushed meanwhile."""
    digests_may_repeat: bool = False
    """Of selections: two that overlap may ask for the same image, which goes once all the same."""
    told: set[str] = field(default_factory=set)
    """The requests whose notice is stored as published: nobody may publish it again."""
    lost: Counter[str] = field(default_factory=Counter)
    """How often each service did its work and the answer was lost."""
    violations: list[str] = field(default_factory=list)
    _digests: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """By repository and tag, for repositories of thousands of images."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def push(self, repository: str, tag: str, pushed: float = _A_DAY_AGO, digest: str | None = None) -> str:
        """Pushes a new image under a tag, moving the tag if another image has it; returns its digest."""
        with self._lock:
            images, digests = self.images[repository], self._digests[repository]
            if tag in digests:
                images[digests[tag]].tags.discard(tag)
            self.pushes += 1
            digests[tag] = digest or f"sha256:{self.pushes << 32:064x}"
            images[digests[tag]] = Image({tag}, pushed)
            return digests[tag]

    def put(
        self, repository: str, *tags: str, days: float = 1, children: tuple[str, ...] = (), subject: str | None = None
    ) -> str:
        """Pushes a new image that is so many days old, under any number of tags; returns its digest."""
        self.pushes += 1
        digest = f"sha256:{self.pushes << 32:064x}"
        self.images[repository][digest] = Image(set(tags), time.time() - days * 86_400, children, subject)
        self._digests[repository] |= dict.fromkeys(tags, digest)
        return digest

    def tags(self, repository: str) -> set[str]:
        return set(self._digests[repository])

    def names(self, repository: str) -> set[str]:
        """All tags and all digests."""
        return self.tags(repository) | self.images[repository].keys()

    def let_time_pass(self, seconds: float = VISIBILITY_SECONDS) -> None:
        """Lets all that was written down become older; what a dead invocation had begun expires by itself."""
        with self._lock:
            for image in (image for images in self.images.values() for image in images.values()):
                image.pushed -= seconds
            for item in self.steps.values():
                for name, unit in {"begun": 1, "expiration": 1, "in_progress_expiration": 1000}.items():
                    if name in item:
                        item[name] = {"N": str(float(item[name]["N"]) - seconds * unit)}

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
            numbers = {service: self.calls[service], operation: self.operations[operation]}
            self.calls[service] += 1
            self.operations[operation] += 1
        fault = self.fault
        kind = fault.kind if fault and fault.service in numbers and fault.strikes(numbers[fault.service]) else None
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
                sleep(_SLOW_SECONDS)
        with self._lock:
            answer = self._serve(operation, body)
        if kind == "cut after":
            self.lost[service] += 1
            raise ConnectionClosedError(endpoint_url=url)
        return answer

    def _serve(self, operation: str, body: Any) -> AWSResponse:
        if operation == "Publish":
            form = dict(urllib.parse.parse_qsl(body.decode() if isinstance(body, bytes) else body))
            self.notices.append(json.loads(json.loads(form["Message"])["default"]))
            if subject(self.notices[-1]) in self.told:
                self.violations.append(f"told again although its notice is stored: {subject(self.notices[-1])}")
            result = f"<PublishResult><MessageId>{len(self.notices)}</MessageId></PublishResult>"
            return response(200, f"<PublishResponse>{result}</PublishResponse>")
        operations: dict[str, Callable[[Json], Json]] = {
            "BatchDeleteImage": self._batch_delete_image,
            "BatchGetImage": self._batch_get_image,
            "DescribeImages": self._describe_images,
            "DescribeRepositories": self._describe_repositories,
            "ListImageReferrers": self._list_image_referrers,
            "SendMessageBatch": self._send_message_batch,
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
        return self._digests[repository].get(image_id["imageTag"])

    def _batch_delete_image(self, call: Json) -> Json:
        repository, gone, failures = call["repositoryName"], [], []
        self._note(repository, tuple(i.get("imageTag") or i["imageDigest"] for i in call["imageIds"]))
        named = {child for image in self.images[repository].values() for child in image.children}
        for image_id in call["imageIds"]:
            digest = self._named(repository, image_id)
            if digest is None:
                failures.append({"imageId": image_id, "failureCode": "ImageNotFound", "failureReason": "Not found"})
                continue
            image = self.images[repository][digest]
            going = {image_id["imageTag"]} if "imageTag" in image_id else set(image.tags)
            if digest in named and going == image.tags:
                code = "ImageReferencedByManifestList"
                failures.append({"imageId": image_id, "failureCode": code, "failureReason": "An index names it"})
                continue
            gone += [{"imageDigest": digest, "imageTag": tag} for tag in going] or [{"imageDigest": digest}]
            image.tags -= going
            for tag in going:
                del self._digests[repository][tag]
            if not image.tags:
                del self.images[repository][digest]
        return {"imageIds": gone, "failures": failures}

    def _note(self, repository: str, asked: tuple[str, ...]) -> None:
        """One deletion that reached ECR."""
        self.asked.append((repository, asked))
        if not 0 < len(set(asked)) == len(asked) <= ECR_LIMIT:
            self.violations.append(f"asked for {len(asked)} ids in a call, {len(set(asked))} of them different")
            raise ServiceError(400, "InvalidParameterException")
        again = self.settled.intersection(asked)
        if self.digests_may_repeat:
            again = {name for name in again if not name.startswith("sha256:")}
        if again:
            self.violations.append(f"asked again although their fate is stored: {sorted(again)[:3]} of {len(again)}")

    def _batch_get_image(self, call: Json) -> Json:
        repository, images, failures = call["repositoryName"], [], []
        for image_id in call["imageIds"]:
            if digest := self._named(repository, image_id):
                children = [{"digest": child} for child in self.images[repository][digest].children]
                manifest = json.dumps({"manifests": children} if children else {})
                images.append({"imageId": {**image_id, "imageDigest": digest}, "imageManifest": manifest})
            else:
                failures.append({"imageId": image_id, "failureCode": "ImageNotFound", "failureReason": "Not found"})
        return {"images": images, "failures": failures}

    def _describe_images(self, call: Json) -> Json:
        images = self.images[call["repositoryName"]]
        if "imageIds" not in call:
            start = int(call.get("nextToken", 0))
            more = {"nextToken": str(start + _PAGE)} if start + _PAGE < len(images) else {}
            return {"imageDetails": [_detail(d, images[d]) for d in list(images)[start : start + _PAGE]], **more}
        digests = {self._named(call["repositoryName"], image_id) for image_id in call["imageIds"]}
        if None in digests:
            raise ServiceError(400, "ImageNotFoundException")
        return {"imageDetails": [_detail(d, images[d]) for d in digests if d]}

    def _describe_repositories(self, call: Json) -> Json:
        start, names = int(call.get("nextToken", 0)), sorted(self.images)
        more = {"nextToken": str(start + 1)} if start + 1 < len(names) else {}
        return {"repositories": [{"repositoryName": name} for name in names[start : start + 1]], **more}

    def _list_image_referrers(self, call: Json) -> Json:
        images, subject = self.images[call["repositoryName"]], call["subjectId"]["imageDigest"]
        return {"referrers": [{"digest": digest} for digest, image in images.items() if image.subject == subject]}

    def _send_message_batch(self, call: Json) -> Json:
        self.sent += [entry["MessageBody"] for entry in call["Entries"]]
        return {"Successful": [{"Id": entry["Id"], "MessageId": entry["Id"]} for entry in call["Entries"]]}

    def _update_item(self, call: Json) -> Json:
        key, values = call["Key"]["id"]["S"], call["ExpressionAttributeValues"]
        old = dict(self.steps.get(key, {}))
        if condition := call.get("ConditionExpression"):
            assert condition == BEGIN_CONDITION
            if old and not _may_begin(old, values):
                raise ServiceError(400, "ConditionalCheckFailedException", Item=old)
        item = self.steps.setdefault(key, {"id": {"S": key}})
        for name, keep, value in _ASSIGNMENT.findall(call["UpdateExpression"]):
            attribute = call["ExpressionAttributeNames"][name]
            item[attribute] = item.get(attribute, values[value]) if keep else values[value]
        outcome = json.loads(item.get("data", {"S": "{}"})["S"])
        for digest, tag, *failure in outcome.get("imageIds", []) + outcome.get("failures", []):
            if not RETRIED.intersection(failure):
                self.settled |= {digest, tag} - {None}
        if "messageId" in outcome:
            self.told.add(subject(self.notices[int(outcome["messageId"]) - 1]))
        return {"Attributes": old} if old else {}

    def _delete_item(self, call: Json) -> Json:
        self.steps.pop(call["Key"]["id"]["S"], None)
        return {}


def _detail(digest: str, image: Image) -> Json:
    """What ECR tells of an image; of its push, whole seconds."""
    detail: Json = {"imageDigest": digest, "imagePushedAt": int(image.pushed), "imageSizeInBytes": 1}
    if image.tags:
        detail["imageTags"] = sorted(image.tags)
    if image.children:
        detail["imageManifestMediaType"] = _INDEX
    if image.subject:
        detail["subjectManifestDigest"] = image.subject
    return detail


def subject(notice: Json) -> str:
    """The request that a notice is about; a rejected one has no id but that of its arrival."""
    return notice.get("requestId") or f"rejected {notice['origin']['id']}"


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
