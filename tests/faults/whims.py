"""An ECR that answers as it pleases, as long as botocore can make something of it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, HTTPClientError, ReadTimeoutError

from tests.faults.world import RETRIED, Json, World, response

DELETED = ("deleted", "deleted by digest", "deleted among others", "deleted twice")
UNTOLD = ("no word", "deleted without a name")
"""Where nobody could know what became of an id."""
FAILED = (
    *("failed without a name", "failed without a code"),
    *("ImageNotFound", "SomethingNew", *sorted(RETRIED)),
)
"""What ECR may tell of an id. A failure code stands for itself."""
NOT_NOW = ("ThrottlingException", "TooManyRequestsException", "LimitExceededException", "ExpiredTokenException")
FINAL = ("RepositoryNotFoundException", "AccessDeniedException", "SomethingNewException")
"""How ECR may refuse a call."""
GARBLED = ("", "not JSON", '{"imageIds":', "[]", '{"imageIds": null, "failures": [{}]}')
LOST = (ConnectionClosedError, EndpointConnectionError, ReadTimeoutError)

type Whim = tuple[str, ...] | int | str | type[HTTPClientError | EndpointConnectionError]
"""One answer: what it tells of the ids in turn, a status of 5xx, an error code or something garbled, or none at all."""


class Whimsical(World):
    """Answers each deletion with a whim, and those of a chunk that has had them all with what it is asked.

    Which whim comes follows from the chunk and from how often it was asked for, so that threads change nothing.
    """

    def __init__(self, whims: Sequence[Whim], image_ids: Iterable[Json]) -> None:
        """The images are there as long as nobody deletes them, and nobody does: looking them up changes nothing."""
        super().__init__()
        for image_id in image_ids:
            tag = image_id.get("imageTag", f"only-{image_id.get('imageDigest')}")
            self.push("app", tag, digest=image_id.get("imageDigest"))
        self.fates: dict[str, str] = {}
        """The last that the function could read of each id."""
        self._whims = whims
        self._times: Counter[str] = Counter()
        """How often each id was asked for."""

    def _serve(self, operation: str, body: Any) -> AWSResponse:
        if operation != "BatchDeleteImage":
            return super()._serve(operation, body)
        call = json.loads(body)
        image_ids = {image_id.get("imageTag") or image_id["imageDigest"]: image_id for image_id in call["imageIds"]}
        self._note(call["repositoryName"], tuple(image_ids))
        at = max(self._times[name] for name in image_ids)
        self._times.update(image_ids.keys())
        whim = self._whims[at] if at < len(self._whims) else DELETED[:1]
        match whim:
            case type():
                raise whim(endpoint_url="http://loopback")
            case int():
                return response(whim, json.dumps({"__type": "ServerException", "message": "Internal failure"}))
            case str() if whim in GARBLED:
                self.fates |= dict.fromkeys(image_ids, "no word")
                return response(200, whim)
            case str():
                if whim in FINAL:
                    self.fates |= dict.fromkeys(image_ids, whim)
                return response(400, json.dumps({"__type": whim, "message": "Refused"}))
        told = {name: whim[n % len(whim)] for n, name in enumerate(image_ids)}
        self.fates |= told
        if "failed without a name" in told.values():  # whose it is, nobody could know either
            self.fates |= {name: "failed without a name" for name, tale in told.items() if tale in UNTOLD}
        gone = [entry for name, tale in told.items() for entry in _gone(image_ids[name], tale)]
        failures = [_failure(image_ids[name], tale) for name, tale in told.items() if tale in FAILED]
        return response(200, json.dumps({"imageIds": gone[::-1], "failures": failures}))


def _gone(image_id: Json, tale: str) -> Iterator[Json]:
    """How a deletion may be told."""
    if tale == "deleted without a name":
        yield {}
    if tale not in DELETED:
        return
    entry = {"imageDigest": "sha256:" + "f" * 64, **image_id}
    if tale == "deleted by digest" and "imageDigest" in image_id:
        entry = {"imageDigest": image_id["imageDigest"]}
    yield entry
    if tale == "deleted twice":
        yield entry
    if tale == "deleted among others":
        yield {"imageDigest": entry["imageDigest"], "imageTag": "another"}
        yield {"imageTag": "yet-another"}


def _failure(image_id: Json, tale: str) -> Json:
    """How a failure may be told."""
    match tale:
        case "failed without a name":
            return {"failureCode": "SomethingNew", "failureReason": "why"}
        case "failed without a code":
            return {"imageId": image_id}
    return {"imageId": image_id, "failureCode": tale, "failureReason": "why"}
