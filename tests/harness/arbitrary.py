"""An ECR that answers deletions arbitrarily, as long as botocore can make something of it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, HTTPClientError, ReadTimeoutError

from tests.fakes.aws import response
from tests.harness.watched import ASKED_AGAIN, WatchedAWS

type Json = dict[str, Any]

DELETED = ("deleted", "deleted by digest", "deleted among others", "deleted twice")
SILENT = ("no word", "deleted without a name", "failed without a name")
"""Where the answer does not say what became of an id."""
FAILED = ("failed without a code", "ImageNotFound", "SomethingNew", *sorted(ASKED_AGAIN - {"StillUsed", "StillTagged"}))
"""Answers that ECR may give about an id. A failure code stands for itself."""
NOT_NOW = ("ThrottlingException", "TooManyRequestsException", "LimitExceededException", "ExpiredTokenException")
FINAL = ("RepositoryNotFoundException", "AccessDeniedException", "SomethingNewException")
"""How ECR may refuse a call."""
GARBLED = ("", "not JSON", '{"imageIds":', "[]", '{"imageIds": null, "failures": [{}]}', '{"imageIds": []}')
LOST = (ConnectionClosedError, EndpointConnectionError, ReadTimeoutError)

type Answer = tuple[str, ...] | int | str | type[HTTPClientError | EndpointConnectionError]
"""One answer about the ids in turn; a status of 5xx, an error code or something garbled; or none at all."""


@dataclass
class ArbitraryAWS(WatchedAWS):
    """Answers each deletion as given, and those of a chunk that has had them all as it is asked.

    Which answer comes follows from the chunk and from how often it was asked for, so that threads change nothing. The
    images are there as long as nobody deletes them, and nobody does: looking them up changes nothing.
    """

    answers: Sequence[Answer] = ()
    said: dict[str, list[str]] = field(default_factory=dict)
    """All that the answers said of each id, in order."""
    _times: Counter[str] = field(default_factory=Counter)

    def push_all(self, image_ids: Iterable[Json]) -> None:
        """Pushes what these ids name."""
        for image_id in image_ids:
            tag = image_id.get("imageTag", f"only-{image_id.get('imageDigest')}")
            self.ecr.push("app", tag, digest=image_id.get("imageDigest"))

    def serve(self, service: str, operation: str, body: Any) -> AWSResponse:
        if operation != "BatchDeleteImage":
            return super().serve(service, operation, body)
        call = json.loads(body)
        self._watch_deletion(call)
        image_ids = {image_id.get("imageTag") or image_id["imageDigest"]: image_id for image_id in call["imageIds"]}
        at = max(self._times[name] for name in image_ids)
        self._times.update(image_ids.keys())
        answer = self.answers[at] if at < len(self.answers) else DELETED[:1]
        match answer:
            case type():
                raise answer(endpoint_url="http://loopback")
            case int():
                return response(answer, json.dumps({"__type": "ServerException", "message": "Internal failure"}))
            case str() if answer in GARBLED:
                return response(200, answer)
            case str():
                for name in image_ids:
                    self.said.setdefault(name, []).append(answer)
                return response(400, json.dumps({"__type": answer, "message": "Refused"}))
        words = {name: answer[n % len(answer)] for n, name in enumerate(image_ids)}
        for name, word in words.items():
            self.said.setdefault(name, []).append(word)
        gone = [entry for name, word in words.items() for entry in _gone(image_ids[name], word)]
        failures = [
            _failure(image_ids[name], word)
            for name, word in words.items()
            if word.startswith("failed") or word in FAILED
        ]
        return response(200, json.dumps({"imageIds": gone[::-1], "failures": failures}))


def _gone(image_id: Json, word: str) -> Iterator[Json]:
    """Yields how a deletion may be reported."""
    if word == "deleted without a name":
        yield {}
    if word not in DELETED:
        return
    entry = {"imageDigest": "sha256:" + "f" * 64, **image_id}
    if word == "deleted by digest" and "imageDigest" in image_id:
        entry = {"imageDigest": image_id["imageDigest"]}
    yield entry
    if word == "deleted twice":
        yield entry
    if word == "deleted among others":
        yield {"imageDigest": entry["imageDigest"], "imageTag": "another"}
        yield {"imageTag": "yet-another"}


def _failure(image_id: Json, word: str) -> Json:
    """Returns how a failure may be reported."""
    match word:
        case "failed without a name":
            return {"failureCode": "SomethingNew", "failureReason": "why"}
        case "failed without a code":
            return {"imageId": image_id}
    return {"imageId": image_id, "failureCode": word, "failureReason": "why"}
