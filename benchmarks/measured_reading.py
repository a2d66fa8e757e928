"""Measures a reading of what is in use, and the plain loop that one writes instead, each in a process of its own.

`python -S -m benchmarks.measured_reading NAME ARGUMENTS`, as measured_process.
"""

import itertools
import time
from typing import Any

from benchmarks.measured_process import main, peak_memory

_REVISIONS = 3
"""Of each task definition family, as the template has it."""


def reading(*, paced: bool, hours_later: float = 0.0) -> dict[str, float]:
    """One invocation by the schedule, perhaps later than now, and with or without the waits of its pace."""
    from handler.usage import pace  # noqa: PLC0415  # what is measured

    ecs_rate = float(pace.RATES["ecs"])
    if not paced:
        pace.RATES.clear()
    from handler.usage_app import lambda_handler  # noqa: PLC0415  # its clients keep the pace that they are made with
    from local.runtime import FakeLambdaContext  # noqa: PLC0415

    handle: Any = lambda_handler
    now = time.time
    time.time = lambda: now() + 3600 * hours_later
    start = time.perf_counter()
    handle({"whenDue": True}, FakeLambdaContext(function_name="UsageFunction", timeout=900))
    return {"seconds": time.perf_counter() - start, "bytes": peak_memory(), "ecs_rate": ecs_rate}


def scan() -> dict[str, float]:
    """Makes the same lists and descriptions by boto3 alone, one after another; returns how many images they name."""
    import boto3  # noqa: PLC0415  # what is measured

    ecs, lambda_ = boto3.client("ecs"), boto3.client("lambda")
    start = time.perf_counter()
    images = images_of(ecs, lambda_)
    return {"seconds": time.perf_counter() - start, "images": len(images)}


def images_of(ecs: Any, lambda_: Any) -> set[str]:
    """Returns the addresses of the images that run, or would be started."""
    return _of_ecs(ecs) | _of_lambda(lambda_)


def _of_ecs(ecs: Any) -> set[str]:
    images: set[str] = set()
    definitions: set[str] = set()
    for cluster in _listed(ecs, "list_clusters", "clusterArns", PaginationConfig={"PageSize": 100}):
        revisions: list[str] = []
        tasks = _listed(ecs, "list_tasks", "taskArns", cluster=cluster, PaginationConfig={"PageSize": 100})
        for arns in itertools.batched(tasks, 100, strict=False):
            for task in ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"]:
                images.update(_pulled(task["containers"]))
        services = _listed(ecs, "list_services", "serviceArns", cluster=cluster, PaginationConfig={"PageSize": 100})
        for arns in itertools.batched(services, 10, strict=False):
            for service in ecs.describe_services(cluster=cluster, services=arns)["services"]:
                definitions.update(deployment["taskDefinition"] for deployment in service["deployments"])
                revisions += [revision["arn"] for revision in service["currentServiceRevisions"]]
        for arns in itertools.batched(revisions, 20, strict=False):
            for revision in ecs.describe_service_revisions(serviceRevisionArns=arns)["serviceRevisions"]:
                images.update(_pulled(revision["containerImages"]))
    for family in _listed(
        ecs, "list_task_definition_families", "families", status="ACTIVE", PaginationConfig={"PageSize": 100}
    ):
        newest = ecs.list_task_definitions(familyPrefix=family, status="ACTIVE", sort="DESC", maxResults=_REVISIONS)
        definitions.update(newest["taskDefinitionArns"])
    for arn in definitions:
        described = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        images.update(container["image"] for container in described["containerDefinitions"])
    return images


def _of_lambda(lambda_: Any) -> set[str]:
    settings = {"PageSize": 50}
    functions = _listed(lambda_, "list_functions", "Functions", FunctionVersion="ALL", PaginationConfig=settings)
    return {
        lambda_.get_function(FunctionName=each["FunctionName"], Qualifier=each["Version"])["Code"]["ResolvedImageUri"]
        for each in functions
        if each["PackageType"] == "Image"
    }


def _listed(client: Any, operation: str, name: str, **arguments: Any) -> Any:
    return (each for page in client.get_paginator(operation).paginate(**arguments) for each in page[name])


def _pulled(containers: Any) -> set[str]:
    """Returns the images that containers name, and by their digests those that they have pulled."""
    names = {container["image"] for container in containers}
    return names | {f"{container['image'].rpartition(':')[0]}@{container['imageDigest']}" for container in containers}


if __name__ == "__main__":
    main({measure.__name__: measure for measure in (reading, scan)})
