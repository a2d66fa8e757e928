"""Workloads that use images, in the embedded AWS: tasks and services of ECS, functions, and what Inspector sees.

They are made through the APIs, as far as these allow. A cluster is made when it is first named.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.ecs.models import ecs_backends
from moto.inspector2.models import inspector2_backends

from .aws import ACCOUNT_ID, REGION, EmbeddedAWS

type Json = dict[str, Any]

_ROLE = "embedded-workloads"


def image_uri(repository: str, tag: str | None = None, digest: str | None = None) -> str:
    """Returns the URI by which a workload names an image of this account."""
    name = f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/{repository}"
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


def register_task_definition(aws: EmbeddedAWS, family: str, *images: str) -> str:
    """Registers a revision with a container for each image, `container-0` and so on; returns its ARN."""
    containers = [{"name": f"container-{i}", "image": image, "memory": 128} for i, image in enumerate(images)]
    answer = aws.client("ecs").register_task_definition(family=family, containerDefinitions=containers)
    arn: str = answer["taskDefinition"]["taskDefinitionArn"]
    return arn


def run_task(aws: EmbeddedAWS, cluster: str, *images: str, family: str = "job", pending: bool = False) -> str:
    """Runs a task of these images that belongs to no service, and returns its ARN. A pending one has no digests yet."""
    _make_cluster(aws, cluster)
    definition = register_task_definition(aws, family, *images)
    with _held(hold=pending):
        # On Fargate, which needs no container instances.
        answer = aws.client("ecs").run_task(cluster=cluster, taskDefinition=definition, launchType="FARGATE")
    arn: str = answer["tasks"][0]["taskArn"]
    return arn


def move_task(task_arn: str, last_status: str, desired_status: str = "RUNNING") -> None:
    """Brings a task to a status of its life, such as PENDING. To stop one as people do, call StopTask."""
    backend = _ecs()
    [task] = [tasks[task_arn] for tasks in backend.tasks.values() if task_arn in tasks]
    backend.move_task(task, last_status, desired_status)


def deploy_service(
    aws: EmbeddedAWS, cluster: str, service: str, *images: str, count: int = 1, in_progress: bool = False
) -> str:
    """Creates a service of these images, or updates the one of that name; returns the ARN of its new revision.

    While the deployment is in progress, new tasks are PENDING, and those of the revision before still run.
    """
    ecs = aws.client("ecs")
    _make_cluster(aws, cluster)
    definition = register_task_definition(aws, service, *images)
    described = ecs.describe_services(cluster=cluster, services=[service])["services"]
    more = {"cluster": cluster, "taskDefinition": definition, "desiredCount": count}
    with _held(hold=in_progress):
        if [former for former in described if former["status"] == "ACTIVE"]:
            answer = ecs.update_service(service=service, **more)
        else:
            answer = ecs.create_service(serviceName=service, launchType="FARGATE", **more)
    arn: str = answer["service"]["currentServiceRevisions"][0]["arn"]
    return arn


def finish_deployment(cluster: str, service: str) -> None:
    """Ends a deployment that is in progress: former tasks are stopped."""
    backend = _ecs()
    backend.finish_deployment(backend.services[f"{cluster}:{service}"])


def forget_revisions(cluster: str, service: str) -> None:
    """Makes a service one that was last deployed before October 2024, so that ECS has no revisions of it."""
    backend = _ecs()
    backend.forget_revisions(backend.services[f"{cluster}:{service}"])


def deploy_function(aws: EmbeddedAWS, name: str, image: str, *, publish: bool = False) -> str:
    """Creates a function of an image, or updates the one of that name; returns the version: $LATEST or a number."""
    functions, iam = aws.client("lambda"), aws.client("iam")
    pages = functions.get_paginator("list_functions").paginate()
    names = {function["FunctionName"] for page in pages for function in page["Functions"]}
    if name in names:
        answer = functions.update_function_code(FunctionName=name, ImageUri=image, Publish=publish)
    else:
        if _ROLE not in {role["RoleName"] for role in iam.list_roles()["Roles"]}:
            iam.create_role(RoleName=_ROLE, AssumeRolePolicyDocument="{}")
        answer = functions.create_function(
            FunctionName=name,
            PackageType="Image",
            Code={"ImageUri": image},
            Role=f"arn:aws:iam::{ACCOUNT_ID}:role/{_ROLE}",
            Publish=publish,
        )
    version: str = answer["Version"]
    return version


def report_use(  # most have a default
    aws: EmbeddedAWS,
    repository: str,
    digest: str,
    count: int = 1,
    *,
    days: float = 0,
    account_id: str = ACCOUNT_ID,
) -> None:
    """Has Inspector see an image in so many tasks and pods, and last in use so many days ago. It may be in none.

    Another account is one of the same organisation.
    """
    images = aws.images(repository) if account_id == ACCOUNT_ID else set()
    tags = [tag for image, tags in images if image == digest for tag in tags]
    image = {"tags": tags, "inUseCount": count, "lastInUseAt": time.time() - days * 86_400}
    backend: Any = inspector2_backends[ACCOUNT_ID][REGION]
    backend.report(f"arn:aws:ecr:{REGION}:{account_id}:repository/{repository}", digest, image)


def _make_cluster(aws: EmbeddedAWS, name: str) -> None:
    ecs = aws.client("ecs")
    if not ecs.describe_clusters(clusters=[name])["clusters"]:
        ecs.create_cluster(clusterName=name)


@contextmanager
def _held(*, hold: bool) -> Iterator[None]:
    """Keeps tasks that start meanwhile from running."""
    backend = _ecs()
    backend.hold = hold
    try:
        yield
    finally:
        backend.hold = False


def _ecs() -> Any:
    return ecs_backends[ACCOUNT_ID][REGION]
