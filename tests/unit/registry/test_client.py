"""ECR's client: so many calls at a time, none deleted twice unseen; and that botocore is still built as it must be."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier, Lock
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

from handler.registry import disable_unsafe_retries, limit_concurrency, read_responses_as_sent
from handler.settings import Settings
from tests.environment import VARIABLES
from tests.fakes.aws import response
from tests.fakes.scripted import URL, Play, ScriptedAWS, answered, broken, refused

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

IMAGE_IDS: Any = [{"imageTag": "v1"}]


class Wire:
    """Instead of botocore's HTTP session: answers at once or after something happens, and counts who waits for it."""

    def __init__(self, happens: Callable[[], object] = lambda: None) -> None:
        self.most = self.calls = self._now = 0
        self._happens = happens
        self._lock = Lock()

    def send(self, request: Any) -> AWSResponse:
        assert request.url.startswith("https://api.ecr.")
        with self._lock:
            self.calls += 1
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self._happens()
        finally:
            with self._lock:
                self._now -= 1
        return response(200, json.dumps({"imageIds": [], "failures": [], "imageDetails": [], "repositories": []}))


def limited(wire: Wire, calls: int) -> "ECRClient":
    """A client that may have so many calls under way."""
    ecr = boto3.client("ecr", config=Config(retries={"total_max_attempts": 1}))
    vars(ecr)["_endpoint"].http_session.send = wire.send
    limit_concurrency(ecr, calls)
    return ecr


def test_botocore_sends_each_call_through_the_session_that_is_limited() -> None:
    """Should botocore rename `_endpoint` or `http_session`, or send by other means, this is where it shows."""
    ecr = boto3.client("ecr")
    session = vars(ecr)["_endpoint"].http_session
    assert type(session).__module__ == "botocore.httpsession"
    wire = Wire()
    session.send = wire.send
    ecr.describe_repositories()
    limit_concurrency(ecr, 1)
    ecr.describe_images(repositoryName="team/app")
    assert wire.calls == 2


def test_no_more_calls_are_under_way_than_are_allowed() -> None:
    """Nor fewer; over all threads, and whatever is asked: deletions, look-ups and lists."""
    wire = Wire(partial(Barrier(3).wait, 5))
    ecr = limited(wire, 3)
    calls: list[Callable[[], Any]] = [
        partial(ecr.batch_delete_image, repositoryName="team/app", imageIds=IMAGE_IDS),
        partial(ecr.describe_images, repositoryName="team/app"),
        ecr.describe_repositories,
    ]
    with ThreadPoolExecutor(12) as threads:
        for done in [threads.submit(call) for call in calls * 4]:
            done.result()
    assert (wire.most, wire.calls) == (3, 12)


def test_a_call_that_fails_makes_way_for_the_next() -> None:
    """A connection that breaks ends the call like a response."""

    def refuse() -> None:
        raise EndpointConnectionError(endpoint_url=URL)

    ecr = limited(Wire(refuse), 1)
    for _ in range(3):
        with pytest.raises(EndpointConnectionError):
            ecr.describe_repositories()


def test_a_thread_with_its_response_lets_those_who_wait_send_first() -> None:
    """A moment passes before it goes on, while others wait for their turn; with none waiting, it goes on at once."""
    moments: list[float] = []

    def ask(wire: Wire, times: int) -> None:
        ecr = limited(wire, 2)
        session, together = vars(ecr)["_endpoint"].http_session, Barrier(times)
        in_turn = session.send

        def send(request: Any) -> Any:
            together.wait(30)
            return in_turn(request)

        session.send = send
        with ThreadPoolExecutor(times) as threads:
            list(threads.map(lambda _: ecr.describe_repositories(), range(times)))

    # By its name it would be that of a copy of the function which another suite has loaded since.
    with mock.patch.dict(limit_concurrency.__globals__, sleep=moments.append):
        ask(Wire(), 2)
        assert moments == []
        ask(Wire(partial(time.sleep, 0.1)), 6)
    assert 0 < len(moments) < 6
    assert max(moments) < 0.01


DONE = answered({"imageIds": [{"imageTag": "v1", "imageDigest": "sha256:" + "a" * 64}], "failures": []})
THROTTLED, BUSY = refused("ThrottlingException"), refused("TooManyRequestsException", 429)
FAILED, UNAVAILABLE = refused("ServerException", 500), refused("ServerException", 503)
UNREACHABLE = broken(EndpointConnectionError(endpoint_url=URL))
NOT_CONNECTED = broken(ConnectTimeoutError(endpoint_url=URL))
CUT, SILENT = broken(ConnectionClosedError(endpoint_url=URL)), broken(ReadTimeoutError(endpoint_url=URL))
TORN = broken(SSLError(endpoint_url=URL, error=EOFError("cut off")))


@pytest.fixture
def ecr(monkeypatch: pytest.MonkeyPatch, sleeps: list[float]) -> "ECRClient":
    """A client with the function's settings; botocore's pauses between its tries are skipped."""
    del sleeps
    monkeypatch.setattr("botocore.retries.bucket.TokenBucket.acquire", lambda *_, **__: True)
    client = boto3.client("ecr", config=Settings.from_env(VARIABLES).client_config())
    disable_unsafe_retries(client)
    return client


def calls_until_it_ends(ecr: "ECRClient", *plays: Play, operation: str = "BatchDeleteImage") -> int:
    """Returns how often ECR was asked, where the calls end so; an error is raised with that number."""
    aws = ScriptedAWS()
    aws.connect(ecr)
    aws.plays[operation] = [*plays, DONE]
    try:
        if operation == "BatchDeleteImage":
            ecr.batch_delete_image(repositoryName="team/app", imageIds=IMAGE_IDS)
        else:
            ecr.describe_images(repositoryName="team/app")
    except (ClientError, BotoCoreError) as error:
        raise EndedError(len(aws.operations)) from error
    return len(aws.operations)


class EndedError(Exception):
    """botocore gave up, after so many calls."""


IMAGE = {"imageDigest": "sha256:" + "a" * 64, "imageTags": ["null", "v1"], "imageSizeInBytes": 5}


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("DescribeImages", {"imageDetails": [IMAGE, {}], "nextToken": "1"}),
        ("DescribeImages", {"imageDetails": [IMAGE | {"imageTags": None, "imageManifestMediaType": None}]}),
        ("DescribeImages", {"imageDetails": None, "nextToken": None}),
        ("DescribeImages", {}),
        ("BatchDeleteImage", {"imageIds": IMAGE_IDS, "failures": [{"imageId": {"imageTag": "v2"}}]}),
    ],
)
def test_responses_have_the_members_that_botocore_would_read(
    ecr: "ECRClient", operation: str, body: dict[str, Any]
) -> None:
    """What is null is left out; the status and the headers are beside."""
    aws = ScriptedAWS()
    aws.connect(ecr)
    read: list[Any] = []
    for change in (lambda _: None, read_responses_as_sent):
        change(ecr)
        aws.plays[operation] = [answered(body)]
        if operation == "DescribeImages":
            read.append(ecr.describe_images(repositoryName="team/app"))
        else:
            read.append(ecr.batch_delete_image(repositoryName="team/app", imageIds=IMAGE_IDS))
    assert read[0] == read[1]
    assert read[1]["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_times_are_left_as_numbers(ecr: "ECRClient") -> None:
    """Should botocore read its responses by other means, this is where it shows: to read each time costs most."""
    aws = ScriptedAWS()
    aws.connect(ecr)
    read_responses_as_sent(ecr)
    aws.plays["DescribeImages"] = [answered({"imageDetails": [{"imagePushedAt": 1_767_225_600.25}]})]
    [image] = ecr.describe_images(repositoryName="team/app")["imageDetails"]
    assert image == {"imagePushedAt": 1_767_225_600.25}


@pytest.mark.parametrize("body", ["[]", "null", '"text"', "4", '{"imageDetails": [', ""])
def test_what_is_no_object_of_json_ends_as_without(ecr: "ECRClient", body: str) -> None:
    """The call fails, or its response has nothing in it; as botocore has it."""
    aws = ScriptedAWS()
    aws.connect(ecr)
    ends = []
    for change in (lambda _: None, read_responses_as_sent):
        change(ecr)
        aws.plays["DescribeImages"] = [lambda _: response(200, body)]
        try:
            ends.append(repr(ecr.describe_images(repositoryName="team/app").get("imageDetails")))
        except Exception as error:  # noqa: BLE001  # whichever botocore raises
            ends.append(repr(error))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("message", ["gone", "gone null and void"])
@pytest.mark.parametrize("code", ["ImageNotFoundException", "ThrottlingException", "Unheard"])
def test_errors_are_known_by_their_codes(ecr: "ECRClient", code: str, message: str) -> None:
    """Those of ECR's model have classes of their own."""
    aws = ScriptedAWS()
    aws.connect(ecr)
    read_responses_as_sent(ecr)
    aws.plays["DescribeImages"] = [refused(code, message=message)] * 5
    with pytest.raises(ClientError) as refusal:
        ecr.describe_images(repositoryName="team/app")
    assert refusal.value.response["Error"] == {"Code": code, "Message": message}
    assert isinstance(refusal.value, ecr.exceptions.ImageNotFoundException) == (code == "ImageNotFoundException")


@pytest.mark.parametrize(
    "before", [(), (THROTTLED,), (BUSY, THROTTLED), (UNREACHABLE,), (NOT_CONNECTED, UNREACHABLE) * 2]
)
def test_a_deletion_that_did_nothing_is_repeated_at_once(ecr: "ECRClient", before: tuple[Play, ...]) -> None:
    """Refused for now, or never reached: botocore may ask up to five times by itself."""
    assert calls_until_it_ends(ecr, *before) == len(before) + 1


@pytest.mark.parametrize(
    ("before", "lost"),
    [
        ((), CUT),
        ((), SILENT),
        ((), TORN),
        ((), FAILED),
        ((), UNAVAILABLE),
        ((THROTTLED,), CUT),
        ((UNREACHABLE, THROTTLED), FAILED),
    ],
)
def test_a_deletion_whose_response_is_lost_is_not_repeated(
    ecr: "ECRClient", before: tuple[Play, ...], lost: Play
) -> None:
    """ECR may have deleted the tag, and it may name another image by now: the next try must look first."""
    with pytest.raises(EndedError, match=f"^{len(before) + 1}$"):
        calls_until_it_ends(ecr, *before, lost)


@pytest.mark.parametrize("lost", [CUT, SILENT, FAILED])
def test_a_look_up_whose_response_is_lost_is_repeated(ecr: "ECRClient", lost: Play) -> None:
    """It has no effect."""
    assert calls_until_it_ends(ecr, lost, operation="DescribeImages") == 2


@pytest.mark.parametrize(
    ("play", "calls"), [(THROTTLED, 5), (BUSY, 5), (UNREACHABLE, 5), (NOT_CONNECTED, 5), (refused("Odd"), 1)]
)
def test_a_deletion_that_never_gets_through_is_given_up(ecr: "ECRClient", play: Play, calls: int) -> None:
    """After five tries, which each did nothing; a refusal for good is asked once."""
    with pytest.raises(EndedError, match=f"^{calls}$"):
        calls_until_it_ends(ecr, *[play] * 5)
