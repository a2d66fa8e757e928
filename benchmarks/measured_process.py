"""Measures one thing in a process of its own, which finds nothing but the function's package, as in Lambda.

`python -S -m benchmarks.measured_process NAME ARGUMENTS` takes arguments as JSON and prints the figures as JSON.
"""

# Imports are part of what is measured: only what Python's own start needs anyway stands up here.
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

type Seconds = float
type Call = tuple[str, str, dict[str, Any]]
"""A service, an operation and its parameters, as boto3 names them."""

_MESSAGE_IMAGES = 10_000
"""Image ids that surely fit the 1 MiB of an SQS message."""
_WARM_UP = 30
"""Requests before those that count, in which connections are made and caches filled."""


def function_cold_start() -> dict[str, Any]:
    """Imports the handler, which is ready for a first request then; returns the time, and which clients it made."""
    start = time.perf_counter()
    from handler import app  # noqa: F401, PLC0415  # what is measured

    seconds = time.perf_counter() - start
    from botocore.client import BaseClient  # noqa: PLC0415

    # botocore makes a class for each client.
    return {"seconds": seconds, "clients": [client.__name__.lower() for client in BaseClient.__subclasses__()]}


def boto3_cold_start(clients: list[str]) -> Seconds:
    """Imports boto3 and makes the same clients."""
    start = time.perf_counter()
    import boto3  # noqa: PLC0415  # what is measured

    for name in clients:
        boto3.client(name)  # type: ignore[call-overload]  # any name
    return time.perf_counter() - start


def large_request(images: int, loop_images: int, requests: int = 1) -> dict[str, Seconds]:
    """One request, the middle one of several; and a sequential loop over calls for `loop_images`, none if 0."""
    boto3, function = Boto3(), Function()
    function.delete(1)
    boto3.delete(1)
    times = sorted(function.delete(images) for _ in range(requests))
    return {"function": times[requests // 2], "loop": boto3.delete(loop_images) if loop_images else 0.0}


def warm_invocation(images: int, records: int) -> Seconds:
    """A batch of requests, at the second invocation."""
    function = Function()
    function.delete(images, records=records)
    return function.delete(images, records=records)


def batches(records: int, pairs: int) -> list[tuple[Seconds, Seconds]]:
    """A one-image request, and a batch of several of them; in turns."""
    function = Function()
    function.delete(1)
    function.delete(1, records=records)
    return [(function.delete(1), function.delete(1, records=records)) for _ in range(pairs)]


def warm_requests(pairs: int) -> list[tuple[Seconds, Seconds]]:
    """A one-image request, and the calls that it makes, by boto3 alone; in turns."""
    boto3, function = Boto3(), Function()
    calls = function.record_calls()
    for _ in range(min(pairs, _WARM_UP)):
        function.delete(1)
        boto3.repeat(calls)
    return [(function.delete(1), boto3.repeat(calls)) for _ in range(pairs)]


def large_request_memory(images: int) -> int:
    """Bytes of memory that this process ever held, after one request."""
    Function().delete(images, by_hand=True)
    return peak_memory()


def selection(images: int, keep: int, in_use: int = 0, platforms: int = 0) -> dict[str, float]:
    """One selection that leaves the newest `keep` of so many images: its time, and the most memory ever held.

    Where each has `platforms`, it is an index that names so many others. Where some are in use, by a function that
    keeps those too.
    """
    function = Function(guarded=bool(in_use))
    function.delete(1)
    return {"seconds": function.select(images, keep, in_use, platforms), "bytes": peak_memory()}


def guarded_requests(images: int, in_use: int, pairs: int) -> list[tuple[Seconds, Seconds]]:
    """A request to a function that keeps what is in use, in a repository in which so many are; and to one without.

    In turns; no image of the request is in use.
    """
    plain, guarded = Function(), Function(guarded=True)
    for function in (plain, guarded):
        function.delete(1, in_use=in_use)
    return [(guarded.delete(images, in_use=in_use), plain.delete(images, in_use=in_use)) for _ in range(pairs)]


def selection_by_loop(images: int, keep: int) -> Seconds:
    """The same by a sequential loop."""
    return Boto3().select(images, keep)


def peak_memory() -> int:
    """Returns the most bytes that this process ever held."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  # pathlib would count too
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def _new_repository(images: int = 0, in_use: int = 0, kind: str = "listing") -> str:
    """Returns a name that no other call of any process gets: in a new repository all images exist.

    As many are listed, or as many indexes, and as many are in use.
    """
    return f"{kind}/{images}/in-use/{in_use}/{os.urandom(8).hex()}"


class Function:
    """The function, called as Lambda calls it."""

    def __init__(self, *, guarded: bool = False) -> None:
        """Imports it. A `guarded` one keeps what is in use; it has clients of its own beside those that came along."""
        from benchmarks import function_under_test  # noqa: PLC0415
        from handler.app import create_handler, lambda_handler  # noqa: PLC0415
        from local.runtime import FakeLambdaContext  # noqa: PLC0415

        self._handle: Any = lambda_handler
        self._events, self._context = function_under_test, FakeLambdaContext
        if guarded:
            from handler.bootstrap import Services  # noqa: PLC0415

            services = Services.from_env({**os.environ, **function_under_test.GUARDED})
            self._handle = create_handler(services)
            _believe_sources(services)

    def delete(self, images: int, *, records: int = 1, by_hand: bool = False, in_use: int = 0) -> Seconds:
        """Invokes it with requests for so many images each; from the queue, or by hand if they are too many."""
        ids = self._events.image_ids(images)
        requests = [self._events.request(_new_repository(in_use=in_use), ids) for _ in range(records)]
        by_hand = by_hand or images > _MESSAGE_IMAGES
        seconds, answer = self._invoke(requests[0] if by_hand else self._events.sqs_event(requests))
        assert not (answer["failures"] if by_hand else answer["batchItemFailures"]), answer  # noqa: S101
        return seconds

    def select(self, images: int, keep: int, in_use: int = 0, platforms: int = 0) -> Seconds:
        """Invokes it by hand with a selection, in a repository of so many images or of so many indexes."""
        repository = _new_repository(images, in_use, "indexes" if platforms else "listing")
        seconds, answer = self._invoke(self._events.selection(repository, keep), self._events.BULK_TIMEOUT_SECONDS)
        assert answer["deleted"] == (images - keep) * (1 + platforms) - in_use, answer  # noqa: S101
        return seconds

    def record_calls(self) -> list[Call]:
        """Returns the calls of a one-image request: it is claimed, ECR is asked, the outcome is stored.

        From here on the function is one that has clients of its own, with which the calls can be seen.
        """
        from botocore import xform_name  # noqa: PLC0415

        from handler.app import create_handler  # noqa: PLC0415
        from handler.bootstrap import Services  # noqa: PLC0415

        calls: list[Call] = []

        def record(params: dict[str, Any], model: Any, **_: object) -> None:
            calls.append((model.service_model.service_name, xform_name(model.name), params))

        services = Services.from_env()
        self._handle = create_handler(services)
        hooks = [client.meta.events for client in (services.ecr, services.dynamodb, services.sns)]
        for hook in hooks:
            hook.register("provide-client-params", record)
        self.delete(1)
        for hook in hooks:
            hook.unregister("provide-client-params", record)
        assert [service for service, *_ in calls] == ["dynamodb", "ecr", "dynamodb"], calls  # noqa: S101
        return calls

    def _invoke(self, event: Any, timeout: Seconds | None = None) -> tuple[Seconds, dict[str, Any]]:
        context = self._context(timeout=timeout or self._events.TIMEOUT_SECONDS)
        start = time.perf_counter()
        answer = self._handle(event, context)
        return time.perf_counter() - start, answer


def _believe_sources(services: Any) -> None:
    """Has the table know what is in use, as of now."""
    from handler.usage.inventory import Inventory  # noqa: PLC0415

    inventory = Inventory(services.dynamodb, services.settings.usage_table)
    for source in services.settings.sources_of_use:
        inventory.believe(source, began=time.time(), expires=time.time() + 3600)


class Boto3:
    """The code that one writes with boto3 instead, with clients as they come."""

    def __init__(self) -> None:
        """To be made before the function: what that imports adds work to the sessions made later."""
        import boto3  # noqa: PLC0415

        session = boto3.session.Session()
        self._clients: dict[str, Any] = {name: session.client(name) for name in ("ecr", "dynamodb")}

    def delete(self, images: int) -> Seconds:
        """Deletes images, 100 ids a call, one call after another."""
        from benchmarks.function_under_test import image_ids  # noqa: PLC0415

        repository, ids = _new_repository(), image_ids(images)
        start = time.perf_counter()
        self._delete(repository, ids)
        return time.perf_counter() - start

    def select(self, images: int, keep: int) -> Seconds:
        """Describes every image of a repository of so many, then deletes the older ones."""
        repository = _new_repository(images)
        start = time.perf_counter()
        pages = (
            self._clients["ecr"]
            .get_paginator("describe_images")
            .paginate(repositoryName=repository, PaginationConfig={"PageSize": 1000})
        )
        found = [detail for page in pages for detail in page["imageDetails"]]
        found.sort(key=lambda detail: detail["imagePushedAt"], reverse=True)
        self._delete(repository, [{"imageDigest": detail["imageDigest"]} for detail in found[keep:]])
        return time.perf_counter() - start

    def repeat(self, recorded: list[Call]) -> Seconds:
        """Makes the calls of a one-image request, about a repository and a claim that are new."""
        repository = _new_repository()
        own: dict[str, Callable[[Any], Any]] = {
            "dynamodb": lambda params: params | {"Key": params["Key"] | {"id": {"S": repository}}},
            "ecr": lambda params: params | {"repositoryName": repository},
        }
        calls = [
            partial(getattr(self._clients[service], operation), **own[service](params))
            for service, operation, params in recorded
        ]
        start = time.perf_counter()
        answers = [call() for call in calls]
        seconds = time.perf_counter() - start
        assert not answers[1]["failures"], answers  # noqa: S101
        return seconds

    def _delete(self, repository: str, ids: Any) -> None:
        for first in range(0, len(ids), 100):
            answer = self._clients["ecr"].batch_delete_image(
                repositoryName=repository, imageIds=ids[first : first + 100]
            )
            assert not answer["failures"], answer  # noqa: S101


MEASUREMENTS: dict[str, Callable[..., Any]] = {
    measure.__name__: measure
    for measure in (
        function_cold_start,
        boto3_cold_start,
        large_request,
        warm_invocation,
        batches,
        warm_requests,
        large_request_memory,
        selection,
        selection_by_loop,
        guarded_requests,
    )
}


def main(measurements: Mapping[str, Callable[..., Any]]) -> None:
    """Takes one measurement. What the function logs goes to standard error, and counts as work."""
    measure, arguments = measurements[sys.argv[1]], json.loads(sys.argv[2])
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, json.dumps(measure(**arguments)).encode())


if __name__ == "__main__":
    main(MEASUREMENTS)
