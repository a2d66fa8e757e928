"""How many calls to ECR are under way at a time: a real client, over connections that are played to it."""

import io
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
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from handler.models import DeletionRequest, ImageId, NotNowError, Origin
from handler.registry import bound, delete_images, list_images, repository_names

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

REQUEST = DeletionRequest("r-1", "team/app", (ImageId(tag="v1"),), Origin("message", "m-1", "queue"), "hash")
ANSWER = b'{"imageIds": [], "failures": [], "imageDetails": [], "repositories": []}'


class Wire:
    """Instead of botocore's connections: answers after a moment, and knows how many waited for it at once."""

    def __init__(self, play: Callable[[], None] = lambda: None) -> None:
        self.most = self._now = 0
        self._play = play
        self._lock = Lock()

    def send(self, request: Any) -> AWSResponse:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            time.sleep(0.005)
            self._play()
        finally:
            with self._lock:
                self._now -= 1
        return AWSResponse(request.url, 200, HTTPHeaders(), Body(ANSWER))


class Body(io.BytesIO):
    """An answer's body, as urllib3 gives it."""

    def stream(self, *_: object, **__: object) -> Any:
        yield self.read()


def client(wire: Wire, calls: int) -> "ECRClient":
    """One that may have so many calls under way."""
    ecr = boto3.client("ecr", region_name="eu-west-1", config=Config(retries={"total_max_attempts": 1}))
    vars(ecr)["_endpoint"].http_session.send = wire.send
    bound(ecr, calls)
    return ecr


def test_no_more_than_that_are_under_way() -> None:
    """Over all threads, and whatever is asked: deletions, look-ups and lists."""
    wire = Wire()
    ecr = client(wire, 3)
    asks: list[Callable[[], Any]] = [
        partial(delete_images, ecr, REQUEST, REQUEST.image_ids, lambda *_: {}, begun=None),
        partial(list_images, ecr, REQUEST, lambda: None),
        partial(repository_names, ecr, None),
    ]
    with ThreadPoolExecutor(12) as threads:
        for done in [threads.submit(ask) for ask in asks * 8]:
            done.result()
    assert wire.most == 3


def test_a_call_that_fails_makes_room_for_the_next() -> None:
    """A connection that breaks ends the call like an answer."""

    def refuse() -> None:
        raise EndpointConnectionError(endpoint_url="https://ecr")

    ecr = client(Wire(refuse), 1)
    for _ in range(3):
        with pytest.raises(NotNowError):
            delete_images(ecr, REQUEST, REQUEST.image_ids, lambda *_: {}, begun=None)
    with pytest.raises(NotNowError):
        list_images(ecr, REQUEST, lambda: None)


def test_who_has_an_answer_lets_those_who_wait_send_first() -> None:
    """A moment passes before its thread goes on, while others wait for their turn; alone, it goes on at once."""
    moments: list[float] = []

    def ask(ecr: "ECRClient", times: int) -> None:
        session, together = vars(ecr)["_endpoint"].http_session, Barrier(times)
        in_turn = session.send

        def send(request: Any) -> Any:
            together.wait(30)
            return in_turn(request)

        session.send = send
        with ThreadPoolExecutor(times) as threads:
            list(threads.map(lambda _: list_images(ecr, REQUEST, lambda: None), range(times)))

    # By its name it would be that of the copy of the function which another suite has loaded last.
    with mock.patch.dict(bound.__globals__, sleep=moments.append):
        ask(client(Wire(), 2), 2)
        assert moments == []
        ask(client(Wire(partial(time.sleep, 0.3)), 2), 6)
    assert 0 < len(moments) < 6
    assert max(moments) < 0.01
