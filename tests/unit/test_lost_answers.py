"""What botocore does when ECR's answer is lost: a real client, whose connections are played to it."""

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

from handler.models import ChunkOutcome, DeletionRequest, ImageFailure, ImageId, LostAnswerError, NotNowError, Origin
from handler.registry import delete_images, never_ask_twice_unseen
from handler.settings import Settings
from tests.environment import VARIABLES

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

TAG = ImageId(tag="v1")
REQUEST = DeletionRequest("r-1", "team/app", (TAG,), Origin("message", "m-1", "queue"), "hash")
URL = "https://api.ecr.eu-central-1.amazonaws.com/"

type Play = Exception | tuple[int, dict[str, Any]]

DONE: Play = (200, {"imageIds": [{"imageTag": "v1", "imageDigest": "sha256:" + "a" * 64}], "failures": []})
THROTTLED: Play = (400, {"__type": "ThrottlingException", "message": "slow down"})
UNAVAILABLE: Play = (503, {"__type": "ServerException", "message": "try again"})
BROKEN: Play = (500, {"__type": "ServerException", "message": "try again"})
BUSY: Play = (429, {"__type": "TooManyRequestsException", "message": "slow down"})
CUT = ConnectionClosedError(endpoint_url=URL)
SILENT = ReadTimeoutError(endpoint_url=URL)
TORN = SSLError(endpoint_url=URL, error=EOFError("cut off"))
UNREACHABLE = EndpointConnectionError(endpoint_url=URL)
NOT_CONNECTED = ConnectTimeoutError(endpoint_url=URL)


def anything(*_: object) -> dict[ImageId, ImageFailure]:
    """A guard that lets everything go."""
    return {}


class Body(io.BytesIO):
    """The body of an answer, as botocore reads it from a connection."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


class Connection:
    """Plays one ending after the other to a client, whatever it asks."""

    def __init__(self, *plays: Play) -> None:
        self.plays = list(plays)

    def __call__(self, **_: object) -> AWSResponse:
        play = self.plays.pop(0)
        if isinstance(play, Exception):
            raise play
        status, answer = play
        return AWSResponse(URL, status, HTTPHeaders(), Body(json.dumps(answer).encode()))


def delete(monkeypatch: pytest.MonkeyPatch, connection: Connection) -> ChunkOutcome:
    """Deletes an image with the client as the function makes it; botocore's pauses between its tries are skipped."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    monkeypatch.setattr("botocore.retries.bucket.TokenBucket.acquire", lambda *_, **__: True)
    config = Settings.from_env(VARIABLES).client_config()
    ecr: ECRClient = boto3.client("ecr", region_name="eu-central-1", config=config)
    never_ask_twice_unseen(ecr)
    # The stubs know only hooks that answer nothing; what this one answers is what came over the wire.
    ecr.meta.events.register("before-send.ecr.BatchDeleteImage", connection)  # type: ignore[arg-type]
    return delete_images(ecr, REQUEST, [TAG], anything, begun=None)


@pytest.mark.parametrize(
    "before", [(), (THROTTLED,), (BUSY, THROTTLED), (UNREACHABLE,), (NOT_CONNECTED, UNREACHABLE) * 2]
)
def test_a_try_that_did_nothing_is_repeated_at_once(monkeypatch: pytest.MonkeyPatch, before: tuple[Play, ...]) -> None:
    """Refused for now, or never reached: botocore may ask up to five times by itself."""
    outcome = delete(monkeypatch, Connection(*before, DONE))
    assert (len(outcome.image_ids), outcome.failures) == (1, ())


@pytest.mark.parametrize(
    ("before", "lost", "words"),
    [
        ((), CUT, "the connection to ECR broke before its answer came"),
        ((), SILENT, "the connection to ECR broke before its answer came"),
        ((), TORN, "the connection to ECR broke before its answer came"),
        ((), BROKEN, "ECR failed with ServerException"),
        ((), UNAVAILABLE, "ECR failed with ServerException"),
        ((THROTTLED,), CUT, "the connection to ECR broke before its answer came"),
        ((UNREACHABLE, THROTTLED), BROKEN, "ECR failed with ServerException"),
    ],
)
def test_a_lost_answer_is_never_asked_for_again_unseen(
    monkeypatch: pytest.MonkeyPatch, before: tuple[Play, ...], lost: Play, words: str
) -> None:
    """ECR may have deleted the tag, and it may name another image by now: the next try must look first."""
    connection = Connection(*before, lost, DONE)
    with pytest.raises(LostAnswerError, match=f"^{words}$"):
        delete(monkeypatch, connection)
    assert connection.plays == [DONE]


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (THROTTLED, "ECR refused for now with ThrottlingException"),
        (BUSY, "ECR refused for now with TooManyRequestsException"),
        (UNREACHABLE, "ECR could not be reached"),
        (NOT_CONNECTED, "ECR could not be reached"),
    ],
)
def test_a_call_that_never_gets_through_did_nothing(monkeypatch: pytest.MonkeyPatch, play: Play, words: str) -> None:
    """After botocore's five tries, which each did nothing, the redelivery starts afresh, without doubt."""
    connection = Connection(*[play] * 5, DONE)
    with pytest.raises(NotNowError, match=f"^{words}$"):
        delete(monkeypatch, connection)
    assert connection.plays == [DONE]


def test_a_refusal_for_good_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No retry cures it."""
    connection = Connection((400, {"__type": "RepositoryNotFoundException", "message": "no such repository"}), DONE)
    (failure,) = delete(monkeypatch, connection).failures
    assert (failure.code, failure.reason) == ("RepositoryNotFoundException", "no such repository")
    assert connection.plays == [DONE]
