"""The local AWS that work is measured against: a process of its own, with a latency and a call rate that can be set.

It speaks just enough HTTP/1.1 for botocore, straight on asyncio's protocols: several thousand calls a second on one
core, so that the server is not what is measured.
"""

import asyncio
import multiprocessing
from collections import Counter
from ctypes import Structure, c_double, c_long
from functools import partial
from multiprocessing.sharedctypes import RawValue
from multiprocessing.synchronize import Event
from typing import Any, Self

from benchmarks.services import Answer, Services, TokenBucket

OPERATIONS = (
    *("BatchDeleteImage", "BatchGetImage", "DescribeImages", "ListImages"),
    *("PutItem", "GetItem", "UpdateItem", "DeleteItem", "Publish"),
    *("throttled", "write units"),
)
_START_SECONDS = 30
_SPAWN = multiprocessing.get_context("spawn")  # no thread or lock of ours goes along, as it would with fork


class _Shared(Structure):
    """What both processes see: the parent sets, the server counts."""

    _fields_ = (
        *((name, c_double) for name in ("latency", "rate", "burst")),
        ("port", c_long),
        ("calls", c_long * len(OPERATIONS)),
    )


class Server:
    """One service, or several behind one address. Use it as a context manager.

    `latency` is in seconds, from the call's last byte to the answer's first. With a `rate`, calls a second beyond it
    and the `burst` are answered at once with ThrottlingException, and count as "throttled". All three may be set while
    it runs.
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
            raise RuntimeError("the local AWS did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._shared.port}"

    @property
    def calls(self) -> Counter[str]:
        """How many calls of each operation were answered so far; those throttled, and write units, by themselves."""
        return Counter({name: count for name, count in zip(OPERATIONS, self._shared.calls, strict=True) if count})

    def _set(self, name: str, value: float) -> None:
        setattr(self._shared, name, value)


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and Content-Length; one request after another, as clients send them."""

    def __init__(self, services: Services, bucket: TokenBucket, shared: Any) -> None:
        self._services, self._bucket, self._shared = services, bucket, shared
        self._loop = asyncio.get_running_loop()
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
            body = bytes(self._received[body_start : body_start + length])
            del self._received[: body_start + length]
            self._serve(target.rpartition(b".")[2].decode().strip() or "Publish", body)

    def _serve(self, operation: str, body: bytes) -> None:
        shared = self._shared
        if not self._bucket.take(shared.rate, shared.burst):
            shared.calls[OPERATIONS.index("throttled")] += 1
            self._send((400, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'))
            return
        answer = self._services.answer(operation, body)
        shared.calls[OPERATIONS.index("write units")] = self._services.write_units
        if operation in OPERATIONS:
            shared.calls[OPERATIONS.index(operation)] += 1
        if shared.latency:
            self._loop.call_later(shared.latency, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        status, body = answer
        head = f"HTTP/1.1 {status} .\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _header(head: bytes, name: bytes) -> bytes:
    start = head.find(name)
    return head[start + len(name) :].split(b"\r\n", 1)[0] if start >= 0 else b""


def _run(shared: Any, ready: Event) -> None:
    asyncio.run(_listen(shared, ready))


async def _listen(shared: Any, ready: Event) -> None:
    connection = partial(_Connection, Services(), TokenBucket(), shared)
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=1024)
    shared.port = server.sockets[0].getsockname()[1]
    ready.set()
    await server.serve_forever()
