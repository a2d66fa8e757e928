"""Serves the fake services over HTTP, in a process of its own, with a latency and a call rate that can be set.

Just enough HTTP/1.1 for botocore, straight on asyncio's protocols: several thousand calls a second on one core, so that
the server is not what is measured.
"""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from ctypes import Structure, c_double, c_long
from functools import partial
from multiprocessing.sharedctypes import RawValue
from multiprocessing.synchronize import Event
from typing import Any, Self

from benchmarks.fake_services import FakeServices, Response
from benchmarks.fake_workloads import OPERATIONS as WORKLOAD_OPERATIONS
from benchmarks.fake_workloads import lambda_operation

DYNAMODB_OPERATIONS = ("GetItem", "Query", "UpdateItem")
READ_UNITS, WRITE_UNITS = "read units", "write units"
"""The names under which DynamoDB's units are counted, beside the calls."""
THROTTLED = "throttled"
"""Calls that were refused, whichever they were."""
_COUNTED = (
    *("BatchDeleteImage", "BatchGetImage", "DescribeImages", "DescribeRegistry", "ListImages"),
    *DYNAMODB_OPERATIONS,
    *WORKLOAD_OPERATIONS,
    *("Publish", THROTTLED, READ_UNITS, WRITE_UNITS),
)
_START_SECONDS = 30
_SPAWN = multiprocessing.get_context("spawn")  # no thread or lock of ours goes along, as it would with fork


class TokenBucket:
    """Lets `burst` calls through at once and `rate` a second in the long run; all of them when the rate is 0."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens = float("inf")
        self._filled_at = clock()

    def take(self, rate: float, burst: float) -> bool:
        """Returns whether a call may pass. Rate and burst may change from call to call; the bucket is full at first."""
        if rate <= 0:
            self._tokens = float("inf")
            return True
        now = self._clock()
        self._tokens = min(burst, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Shared(Structure):
    """Memory of both processes: one sets what the server does, the server counts."""

    _fields_ = (
        *((name, c_double) for name in ("latency", "rate", "burst")),
        ("port", c_long),
        ("calls", c_long * len(_COUNTED)),
    )


class Server:
    """One service, or several behind one address. Use it as a context manager.

    `latency` is in seconds, from the call's last byte to the response's first. With a `rate`, calls a second beyond it
    and the `burst` get a ThrottlingException at once, and count as THROTTLED. All three may be set while it runs.
    """

    def __init__(self, *, latency: float = 0.0, rate: float = 0.0, burst: float = 1.0) -> None:
        self._shared: Any = RawValue(_Shared, latency, rate, burst)

    latency = property(lambda self: self._shared.latency, lambda self, value: self._set("latency", value))
    rate = property(lambda self: self._shared.rate, lambda self, value: self._set("rate", value))
    burst = property(lambda self: self._shared.burst, lambda self, value: self._set("burst", value))

    def __enter__(self) -> Self:
        ready = _SPAWN.Event()
        self._process = _SPAWN.Process(target=_run, args=(self._shared, ready), daemon=True)
        self._process.start()
        if not ready.wait(_START_SECONDS):
            self.__exit__()
            raise RuntimeError("the fake services did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._shared.port}"

    @property
    def calls(self) -> Counter[str]:
        """How many calls of each operation were served so far; those THROTTLED, and DynamoDB's units, by themselves."""
        return Counter({name: count for name, count in zip(_COUNTED, self._shared.calls, strict=True) if count})

    def _set(self, name: str, value: float) -> None:
        setattr(self._shared, name, value)


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and Content-Length; one request after another, as clients send them."""

    def __init__(self) -> None:
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what asyncio gives to a TCP server
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:head_end]).lower()
            body_start = head_end + 4
            length = int(_header(head, b"\r\ncontent-length:") or 0)
            if len(self._received) < body_start + length:
                return
            # The operation's case counts, and lower() keeps the length.
            target_start = head.find(b"\r\nx-amz-target:")
            target = bytes(self._received[target_start:head_end]).split(b"\r\n", 2)[1] if target_start >= 0 else b""
            path = bytes(self._received[: head.find(b"\r\n")]).split(b" ")[1].decode()
            body = bytes(self._received[body_start : body_start + length])
            del self._received[: body_start + length]
            self.serve(path, target.rpartition(b".")[2].decode().strip(), body)

    def serve(self, path: str, operation: str, body: bytes) -> None:
        """Does what one call asks for; the operation is empty where the path alone says it."""
        raise NotImplementedError

    def send(self, response: Response) -> None:
        """Answers a call."""
        status, body = response
        head = f"HTTP/1.1 {status} .\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


class _Connection(Connection):
    """One to the fake services, which counts and may refuse."""

    def __init__(self, services: FakeServices, bucket: TokenBucket, shared: Any) -> None:
        super().__init__()
        self._services, self._bucket, self._shared = services, bucket, shared
        self._loop = asyncio.get_running_loop()

    def serve(self, path: str, operation: str, body: bytes) -> None:
        arrived = self._loop.time()  # what it takes to answer is part of the latency
        operation = operation or lambda_operation(path) or "Publish"
        shared = self._shared
        if not self._bucket.take(shared.rate, shared.burst):
            shared.calls[_COUNTED.index(THROTTLED)] += 1
            self.send((400, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'))
            return
        response = self._services.respond(path, operation, body)
        shared.calls[_COUNTED.index(READ_UNITS)] = self._services.dynamodb.units["read"]
        shared.calls[_COUNTED.index(WRITE_UNITS)] = self._services.dynamodb.units["write"]
        if operation in _COUNTED:
            shared.calls[_COUNTED.index(operation)] += 1
        if shared.latency:
            self._loop.call_at(arrived + shared.latency, self.send, response)
        else:
            self.send(response)


def _header(head: bytes, name: bytes) -> bytes:
    start = head.find(name)
    return head[start + len(name) :].split(b"\r\n", 1)[0] if start >= 0 else b""


def _run(shared: Any, ready: Event) -> None:
    asyncio.run(_listen(shared, ready))


async def _listen(shared: Any, ready: Event) -> None:
    connection = partial(_Connection, FakeServices(), TokenBucket(), shared)
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=1024)
    shared.port = server.sockets[0].getsockname()[1]
    ready.set()
    await server.serve_forever()
