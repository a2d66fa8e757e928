"""What is measured in a fresh interpreter that finds nothing but the package, as in Lambda: one measure a process.

`python -S -m benchmarks.child MEASURE ARGUMENTS` takes its arguments as JSON and answers with JSON.
"""

# Imports are part of what is measured: only what Python's own start needs anyway stands up here.
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

type Seconds = float
type Call = tuple[str, str, dict[str, Any]]
"""A service, an operation and its parameters, as boto3 names them."""


def cold_function() -> dict[str, Any]:
    """From the first import until a first request could be taken; and which clients are ready then."""
    start = time.perf_counter()
    from handler import app  # noqa: PLC0415  # what is measured

    seconds = time.perf_counter() - start
    from botocore.client import BaseClient  # noqa: PLC0415

    clients = [value for value in vars(vars(app)["work"]).values() if isinstance(value, BaseClient)]
    return {"seconds": seconds, "clients": [client.meta.service_model.service_name for client in clients]}


def cold_boto3(clients: list[str]) -> Seconds:
    """The same for boto3 alone, with the same clients."""
    start = time.perf_counter()
    import boto3  # noqa: PLC0415  # what is measured

    for name in clients:
        boto3.client(name)  # type: ignore[call-overload]  # any name
    return time.perf_counter() - start


def bulk(images: int, loop_images: int, requests: int = 1) -> dict[str, Seconds]:
    """One request, the middle one of several; and a sequential loop over calls for `loop_images`, none if 0."""
    bench = _Bench()
    bench.function(1)
    bench.loop(1)
    times = sorted(bench.function(images) for _ in range(requests))
    return {"function": times[requests // 2], "loop": bench.loop(loop_images) if loop_images else 0.0}


def once(images: int, records: int) -> Seconds:
    """One warm invocation: the second of two."""
    bench = _Bench(loop=False)
    bench.function(images, records=records)
    return bench.function(images, records=records)


def batch(records: int, pairs: int) -> list[tuple[Seconds, Seconds]]:
    """One one-image request, and a batch of several; in turns."""
    bench = _Bench()
    bench.function(1)
    bench.function(1, records=records)
    return [(bench.function(1), bench.function(1, records=records)) for _ in range(pairs)]


def warm(pairs: int) -> list[tuple[Seconds, Seconds]]:
    """One one-image request, and its bare calls; in turns."""
    bench = _Bench()
    recorded = bench.recorded()
    for _ in range(min(pairs, 30)):
        bench.function(1)
        bench.bare_calls(recorded)
    return [(bench.function(1), bench.bare_calls(recorded)) for _ in range(pairs)]


def memory(images: int) -> int:
    """Bytes of memory that this process ever held, after one request."""
    _Bench(loop=False).function(images, by_hand=True)
    return _peak()


def selection(images: int, keep: int) -> dict[str, float]:
    """One selection that leaves the newest `keep` of so many images; and the memory that it took."""
    bench = _Bench(loop=False)
    bench.function(1)
    return {"seconds": bench.selection(images, keep), "bytes": _peak()}


def selection_loop(images: int, keep: int) -> Seconds:
    """The same by a loop."""
    return _Bench().selection_loop(images, keep)


def _peak() -> int:
    """Bytes of memory that this process ever held."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  # pathlib would count too
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


class _Bench:
    """The function, and bare boto3 clients beside it; each deletion has its own repository, so all images exist."""

    def __init__(self, *, loop: bool = True) -> None:
        if loop:
            import boto3  # noqa: PLC0415

            # Made first, in a session of their own: what the function imports adds work to the sessions made later.
            session = boto3.session.Session()
            self._clients: dict[str, Any] = {name: session.client(name) for name in ("ecr", "dynamodb")}
        from benchmarks import function  # noqa: PLC0415
        from handler import app, work  # noqa: PLC0415

        self._handler, self._work, self._events = app.lambda_handler, work, function
        self._repositories = 0

    def function(self, images: int, *, records: int = 1, by_hand: bool = False) -> Seconds:
        """One invocation with requests for so many images each; on the queue, or by hand if they are too many."""
        ids = self._events.image_ids(images)
        requests = [self._events.request(self._repository(), ids) for _ in range(records)]
        by_hand = by_hand or images > 10_000  # noqa: PLR2004  # a message takes 1 MiB
        event = requests[0] if by_hand else self._events.sqs_event(requests)
        context = self._events.Context()
        start = time.perf_counter()
        answer = self._handler(event, context)
        seconds = time.perf_counter() - start
        assert not (answer["failures"] if by_hand else answer["batchItemFailures"]), answer  # noqa: S101
        return seconds

    def loop(self, images: int) -> Seconds:
        """What one writes with boto3: 100 ids a call, one call after another."""
        repository = self._repository()
        ids: Any = self._events.image_ids(images)
        start = time.perf_counter()
        for first in range(0, len(ids), 100):
            answer = self._clients["ecr"].batch_delete_image(
                repositoryName=repository, imageIds=ids[first : first + 100]
            )
            assert not answer["failures"], answer  # noqa: S101
        return time.perf_counter() - start

    def selection(self, images: int, keep: int) -> Seconds:
        """By hand, in a repository of so many images."""
        event = self._events.selection(f"listing/{images}/function", keep)
        context = self._events.Context()
        start = time.perf_counter()
        answer = self._handler(event, context)
        seconds = time.perf_counter() - start
        assert answer["deleted"] == images - keep, answer  # noqa: S101
        return seconds

    def selection_loop(self, images: int, keep: int) -> Seconds:
        """What one writes with boto3: every image is described, then the older ones are deleted, 100 a call."""
        ecr, repository = self._clients["ecr"], f"listing/{images}/loop"
        start = time.perf_counter()
        pages = ecr.get_paginator("describe_images").paginate(
            repositoryName=repository, PaginationConfig={"PageSize": 1000}
        )
        found = [detail for page in pages for detail in page["imageDetails"]]
        found.sort(key=lambda detail: detail["imagePushedAt"], reverse=True)
        ids = [{"imageDigest": detail["imageDigest"]} for detail in found[keep:]]
        for first in range(0, len(ids), 100):
            answer = ecr.batch_delete_image(repositoryName=repository, imageIds=ids[first : first + 100])
            assert not answer["failures"], answer  # noqa: S101
        return time.perf_counter() - start

    def recorded(self) -> list[Call]:
        """The calls that the function makes for a one-image request: a step is begun, ECR asked, the outcome stored."""
        from botocore import xform_name  # noqa: PLC0415

        calls: list[Call] = []

        def record(params: dict[str, Any], model: Any, **_: object) -> None:
            calls.append((model.service_model.service_name, xform_name(model.name), params))

        hooks = [client.meta.events for client in (self._work.ecr, self._work.dynamodb)]
        for hook in hooks:
            hook.register("provide-client-params", record)
        self.function(1)
        for hook in hooks:
            hook.unregister("provide-client-params", record)
        assert [service for service, *_ in calls] == ["dynamodb", "ecr", "dynamodb"], calls  # noqa: S101
        return calls

    def bare_calls(self, recorded: list[Call]) -> Seconds:
        """The same calls by boto3's own clients, about a repository and a step that are new."""
        repository = self._repository()
        own: dict[str, Any] = {
            "dynamodb": {"Key": {"id": {"S": f"delete#{repository}"}}},
            "ecr": {"repositoryName": repository},
        }
        calls = [
            partial(getattr(self._clients[service], operation), **(params | own[service]))
            for service, operation, params in recorded
        ]
        start = time.perf_counter()
        answers = [call() for call in calls]
        seconds = time.perf_counter() - start
        assert not answers[1]["failures"], answers  # noqa: S101
        return seconds

    def _repository(self) -> str:
        self._repositories += 1
        return f"benchmark/{os.getpid()}-{self._repositories}"


MEASURES: dict[str, Callable[..., Any]] = {
    measure.__name__: measure
    for measure in (cold_function, cold_boto3, bulk, once, batch, warm, memory, selection, selection_loop)
}


def main() -> None:
    """Runs one measure. What the function logs goes to the file descriptor it is given, and counts as work."""
    measure, arguments = MEASURES[sys.argv[1]], json.loads(sys.argv[2])
    answer = os.dup(1)
    os.dup2(2, 1)
    result = measure(**arguments)
    os.write(answer, json.dumps(result).encode())


if __name__ == "__main__":
    main()
