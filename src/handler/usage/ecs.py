"""What ECS runs, and what it would start: tasks, services, and the newest revisions of task definitions.

ECS keeps the digest that a service's tag had when it was deployed, and starts that image again whatever the tag names
by then. So an image that has lost its tag may be in production, and both count: the digest, and the name.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import batched, islice
from typing import Any

from .images import Use, digest_of, is_of_ecr, parse_address
from .reading import ReadingFailedError, Unit, listed, member

type Json = dict[str, Any]
type Containers = Callable[[str], list[Json]]
"""Returns the containers of a task definition, by its ARN."""

_log = logging.getLogger(__name__)

# The most that there is.
_PAGE = 100
_TASKS, _SERVICES, _REVISIONS = 100, 10, 20


def units(ecs: Any, revisions: int) -> list[Unit]:
    """Returns the clusters, and the families of task definitions, of each of which so many revisions are read."""

    @cache  # the newest revisions of most families are those of services too
    def containers(task_definition: str) -> list[Json]:
        answer = ecs.describe_task_definition(taskDefinition=task_definition)
        found: list[Json] = member(answer, "taskDefinition")["containerDefinitions"]
        return found

    clusters = listed(ecs, "list_clusters", "clusterArns", page=_PAGE)
    families: Iterable[str] = ()
    if revisions:
        families = listed(ecs, "list_task_definition_families", "families", page=_PAGE, status="ACTIVE")
    return [
        *(Unit(f"cluster/{_last(arn)}", partial(_of_cluster, ecs, arn, containers)) for arn in clusters),
        *(Unit(f"family/{family}", partial(_of_family, ecs, family, revisions, containers)) for family in families),
    ]


def _of_cluster(ecs: Any, cluster: str, containers: Containers) -> Iterator[Use]:
    try:
        yield from _of_tasks(ecs, cluster)
        yield from _of_services(ecs, cluster, containers)
    except ecs.exceptions.ClusterNotFoundException:  # deleted since it was listed, as only one without tasks can be
        return


def _of_tasks(ecs: Any, cluster: str) -> Iterator[Use]:
    """Yields what the tasks use that should be running, also those that have not started yet."""
    arns = list(listed(ecs, "list_tasks", "taskArns", page=_PAGE, cluster=cluster))
    describe = partial(ecs.describe_tasks, cluster=cluster)
    for task in _described(describe, "tasks", "tasks", arns, most=_TASKS, may_be_gone=True):
        group, _, name = task.get("group", "").partition(":")
        family = _last(task["taskDefinitionArn"]).partition(":")[0]
        user = f"ECS service {name}" if group == "service" else f"ECS task of family {family}"
        yield from _uses(task["containers"], f"{user} in cluster {_last(cluster)}")


def _of_services(ecs: Any, cluster: str, containers: Containers) -> Iterator[Use]:
    """Yields what the services would start: what each of their revisions names, and the digests that it keeps."""
    arns = list(listed(ecs, "list_services", "serviceArns", page=_PAGE, cluster=cluster))
    describe = partial(ecs.describe_services, cluster=cluster)
    users: dict[str, str] = {}
    for service in _described(describe, "services", "services", arns, most=_SERVICES):
        if service.get("status") == "INACTIVE":  # deleted since it was listed, and its revisions may be as well
            continue
        user = f"ECS service {service['serviceName']} in cluster {_last(cluster)}"
        # Of a service without revisions, from before October 2024, this is all there is.
        parts = (service, *service.get("deployments", ()), *service.get("taskSets", ()))
        for task_definition in {part["taskDefinition"] for part in parts if part.get("taskDefinition")}:
            yield from _uses(containers(task_definition), user)
        users |= {revision["arn"]: user for revision in service.get("currentServiceRevisions", ())}
    describe = ecs.describe_service_revisions
    for revision in _described(describe, "serviceRevisionArns", "serviceRevisions", users, most=_REVISIONS):
        # Before its first task has started, a revision knows no digests, and perhaps no images.
        images = [*revision.get("containerImages", ()), *containers(member(revision, "taskDefinition"))]
        yield from _uses(images, users[revision["serviceRevisionArn"]])


def _of_family(ecs: Any, family: str, revisions: int, containers: Containers) -> Iterator[Use]:
    """Yields what the newest revisions name: schedules, pipelines and people start tasks of them."""
    # In spite of its name, familyPrefix is the whole name of a family.
    arguments = {"familyPrefix": family, "status": "ACTIVE", "sort": "DESC"}
    arns = listed(ecs, "list_task_definitions", "taskDefinitionArns", page=min(revisions, _PAGE), **arguments)
    for arn in islice(arns, revisions):
        try:
            found = containers(arn)
        except ecs.exceptions.ClientException:  # deleted since it was listed
            continue
        yield from _uses(found, f"ECS task definition {_last(arn)}")


def _uses(containers: Iterable[Mapping[str, Any]], user: str) -> Iterator[Use]:
    """Yields the images that containers name, and those that they have found under that name."""
    for container in containers:
        # Containers that AWS adds, such as that of Service Connect, need not name an image.
        address = container.get("image") or ""
        image = parse_address(address)
        if image is None:
            if is_of_ecr(address):  # nobody can run it; if somebody can, it is not protected, and this says so
                _log.warning("images not understood", extra={"source": "ecs", "addresses": [address[:500]]})
            continue
        yield Use(image, user)
        if digest := container.get("imageDigest"):
            yield Use(digest_of(image, digest), user)


def _described(
    describe: Callable[..., Json],
    argument: str,
    name: str,
    arns: Collection[str],
    *,
    most: int,
    may_be_gone: bool = False,
) -> Iterator[Json]:
    """Yields the descriptions of all that is asked for, so many in a call.

    Raises ReadingFailedError where one is left out, unless it may be gone and ECS says so; ServiceUnavailableError.
    """
    key = f"{name[:-1]}Arn"
    for asked in batched(arns, most, strict=False):
        answer = describe(**{argument: list(asked)})
        found: list[Json] = member(answer, name)
        answered = {description[key] for description in found}
        for failure in answer.get("failures", ()):
            if may_be_gone and failure.get("reason") == "MISSING":
                answered.add(failure.get("arn"))
            else:
                raise ReadingFailedError(f"ECS does not describe {failure.get('arn')}: {failure.get('reason')}")
        if left_out := set(asked) - answered:
            raise ReadingFailedError(f"ECS's description of {len(asked)} {name} leaves out {min(left_out)}")
        yield from found


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]
