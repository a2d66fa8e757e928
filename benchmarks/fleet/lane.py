"""A queue's event source mapping and the instances of its function, as Lambda works them."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

from benchmarks.fleet.queue import Message, Queue
from benchmarks.function_under_test import ROOT, sqs_record

FIRST_BATCHES, MORE_BATCHES_A_MINUTE = 5, 300
"""Batches that Lambda takes side by side when messages begin to come, and how fast they become more."""
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Function:
    """A function and how its queue invokes it."""

    name: str
    package: Path
    queue_arn: str
    timeout: float
    batch_size: int
    max_concurrency: int
    niceness: int = 0


class Instance:
    """A process of a function."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, function: Function, environment: Mapping[str, str], log: int) -> tuple[Self, float]:
        """Starts one; returns it with the seconds that this took."""
        arguments = [function.name, f"{function.timeout}", f"{function.niceness}"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", "-m", "benchmarks.fleet.instance", *arguments),
            cwd=ROOT,
            env={
                **environment,
                "PYTHONPATH": f"{function.package}{os.pathsep}{ROOT}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",  # what it logs is counted while it runs
            },
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
        )
        instance = cls(process)
        return instance, (await asyncio.wait_for(instance._answer(), _START_SECONDS))["seconds"]

    async def invoke(self, event: Any, seconds: float) -> dict[str, Any]:
        """Returns the function's answer; raises TimeoutError after so many, or EOFError where the process has ended."""
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        self._process.stdin.write(json.dumps(event).encode() + b"\n")
        return await asyncio.wait_for(self._answer(), seconds)

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = await self._process.stdout.readline()
        if not line:
            raise EOFError("the instance has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def peak_memory(self) -> int:
        """The most bytes that it ever held; 0 once it has ended."""
        with suppress(OSError):
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM")), 0)
        return 0

    async def end(self) -> None:
        """Ends it, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@dataclass
class Lane:
    """A queue, its poller and the instances of its function. Use it as a context manager."""

    function: Function
    queue: Queue
    environment: Mapping[str, str]
    invocations = errors = cold_starts = 0
    billed_seconds: float = 0.0
    peak_memory: int = 0
    _idle: list[Instance] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _polling_since: float | None = None

    async def __aenter__(self) -> Self:
        self._log = TemporaryFile("ab")  # noqa: SIM115  # closed by __aexit__
        self.queue.on_arrival = self._poll
        return self

    async def __aexit__(self, *_: object) -> None:
        self.queue.on_arrival = lambda: None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._end(instance) for instance in self._idle))
        self._log.close()

    @property
    def log_bytes(self) -> int:
        """The bytes that its instances have logged."""
        return os.fstat(self._log.fileno()).st_size

    async def warm_up(self, bodies: Sequence[str]) -> None:
        """Has as many instances as may be, each of which has taken one of these messages."""
        self._idle = await asyncio.gather(*(self._start() for _ in bodies))
        events = [self._event([Message(f"warm-{n}", body, "warm", 0, 1)]) for n, body in enumerate(bodies)]
        invocations = zip(self._idle, events, strict=True)
        await asyncio.gather(*(instance.invoke(event, _START_SECONDS) for instance, event in invocations))
        self.billed_seconds, self.cold_starts = 0.0, 0
        self._log.truncate(0)

    def measure_memory(self) -> None:
        """Notes the most memory that one of its idle instances has held."""
        self.peak_memory = max((self.peak_memory, *(instance.peak_memory for instance in self._idle)))

    def _poll(self) -> None:
        """Hands over what waits, as far as the poller has grown."""
        loop = asyncio.get_running_loop()
        if self._polling_since is None:
            self._polling_since = loop.time()
        grown = (loop.time() - self._polling_since) * MORE_BATCHES_A_MINUTE / 60
        allowed = min(self.function.max_concurrency, FIRST_BATCHES + int(grown))
        while self.queue.waiting and len(self._tasks) < allowed:
            task = loop.create_task(self._take(self.queue.receive(self.function.batch_size)))
            self._tasks.add(task)
            task.add_done_callback(self._taken)

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()
            self._poll()

    async def _take(self, batch: Sequence[Message]) -> None:
        """Has an instance take a batch, and deletes what does not fail."""
        instance = self._idle.pop() if self._idle else await self._start()
        self.invocations += 1
        failed = {message.id for message in batch}
        try:
            answer = await instance.invoke(self._event(batch), self.function.timeout)
        except (TimeoutError, EOFError):
            self.errors += 1
            self.billed_seconds += self.function.timeout
            await self._end(instance)
        else:
            self.errors += "error" in answer
            self.billed_seconds += answer["seconds"]
            self._idle.append(instance)
            if "returned" in answer:
                failed = {item["itemIdentifier"] for item in answer["returned"]["batchItemFailures"]}
        for message in batch:
            (self.queue.failed if message.id in failed else self.queue.done)(message)

    async def _start(self) -> Instance:
        instance, seconds = await Instance.start(self.function, self.environment, self._log.fileno())
        self.cold_starts += 1
        self.billed_seconds += seconds
        return instance

    async def _end(self, instance: Instance) -> None:
        self.peak_memory = max(self.peak_memory, instance.peak_memory)
        await instance.end()

    def _event(self, batch: Sequence[Message]) -> Any:
        arn = self.function.queue_arn
        return {"Records": [sqs_record(m.id, m.body, receives=m.receives, queue_arn=arn) for m in batch]}
