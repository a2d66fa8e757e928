"""moto's ECS, corrected to behave as the real one does where it tells which images are in use.

What ECS does and moto 5.2 does not, all of it done here:

- A task has every container of its task definition, each with the digest that its image had when it was pulled.
- A task runs until it is stopped; moto's comes closer to its end each time it is described.
- A service runs tasks, replaces those that are stopped, and is not listed when it has been deleted.
- A deployment makes a service revision, which pins digests; whatever the service starts later has these.
- Lists come in pages, keep clusters apart, and heed the order and the status that are asked for.
- Descriptions have limits, and name what is missing.

Not known from AWS are the words of errors about limits, and what a former revision's `requestedTaskCount` is while a
deployment is under way: here it is the number of its tasks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import moto.ecs.urls
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ecs.exceptions import InvalidParameterException, TaskDefinitionNotFoundException
from moto.ecs.models import EC2ContainerServiceBackend, Service, Task, TaskDefinition, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.moto_api._internal import mock_random

from . import ecr

type Json = dict[str, Any]

_PAGE = 100
_LISTS = {
    "list_clusters": ("clusterArns", _PAGE),
    "list_services": ("serviceArns", 10),
    "list_tasks": ("taskArns", _PAGE),
    "list_task_definitions": ("taskDefinitionArns", _PAGE),
    "list_task_definition_families": ("families", _PAGE),
}
"""The key of each list in its answer, and the size of its pages when the caller does not say."""
_NOT_PULLED = ("PROVISIONING", "PENDING", "ACTIVATING")
"""The statuses of a task whose images may not have been pulled."""


@dataclass(eq=False, slots=True)
class _Deployment:
    task_definition: TaskDefinition
    images: list[Json]
    """What it pinned, by container, as a service revision shows it."""
    number: int = field(default_factory=lambda: mock_random.randint(10**18, 10**19))
    revision: str | None = None
    """The ARN of its service revision."""
    created_at: datetime = field(default_factory=utcnow)
    tasks: list[Task] = field(default_factory=list)

    @property
    def pending(self) -> int:
        return sum(task.last_status in _NOT_PULLED for task in self.tasks)

    @property
    def running(self) -> int:
        return sum(task.last_status not in {*_NOT_PULLED, "STOPPED"} for task in self.tasks)


class CorrectedECS(EC2ContainerServiceBackend):
    """One account's clusters in one region."""

    _url_module = moto.ecs.urls

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.revisions: dict[str, Json] = {}
        """The service revisions by their ARNs, as they are described."""
        self.hold = False
        """Whether tasks that start stay PENDING; a deployment then replaces nothing until it is finished."""

    def describe_task_definition(self, task_definition_str: str) -> TaskDefinition:
        """Returns a revision; a family alone means its newest one that is active."""
        if ":" not in task_definition_str.rpartition("/")[2]:
            active = self.list_task_definitions(task_definition_str)
            if not active:
                raise TaskDefinitionNotFoundException
            task_definition_str = active[-1]
        return super().describe_task_definition(task_definition_str)

    def list_task_definitions(self, family_prefix: str | None, status: str = "ACTIVE") -> list[str]:
        """Returns ARNs in the order of families and revisions. The "prefix" is a whole family's name."""
        return [
            definition.arn
            for family, revisions in sorted(self.task_definitions.items())
            for _, definition in sorted(revisions.items())
            if family_prefix in {None, family} and definition.status == status
        ]

    def families(self, prefix: str | None, status: str | None) -> list[str]:
        """Returns the families whose names begin so; an INACTIVE one has no active revision."""
        active = {family: bool(self.list_task_definitions(family)) for family in sorted(self.task_definitions)}
        wanted = {"ACTIVE": [True], "INACTIVE": [False]}.get(status or "ALL", [True, False])
        return [family for family in active if family.startswith(prefix or "") and active[family] in wanted]

    def run_task(self, *args: Any, **kwargs: Any) -> list[Task]:
        """Starts tasks of a task definition."""
        return [self._begin(task, {}) for task in super().run_task(*args, **kwargs)]

    def start_task(self, *args: Any, **kwargs: Any) -> list[Task]:
        """Starts a task on each of the container instances."""
        return [self._begin(task, {}) for task in super().start_task(*args, **kwargs)]

    def _begin(self, task: Task, pins: Mapping[str, str]) -> Task:
        """Gives a task its containers. Those with a pin, by their names, have that digest whatever their tag means."""
        task.pins = pins
        task.containers = [
            {
                "containerArn": f"{task.task_arn.replace(':task/', ':container/')}/{uuid4()}",
                "taskArn": task.task_arn,
                "name": container["name"],
                "image": container["image"],  # as the task definition has it, also where the digest is pinned
            }
            for container in self.describe_task_definition(task.task_definition_arn).container_definitions
        ]
        self.move_task(task, "PENDING" if self.hold else "RUNNING")
        return task

    @staticmethod
    def move_task(task: Task, last_status: str, desired_status: str = "RUNNING") -> None:
        """Brings a task to a status of its life; its digests are known once its images have been pulled."""
        task.last_status, task.desired_status = last_status, desired_status
        for container in task.containers:
            if last_status in _NOT_PULLED or last_status == "STOPPED":
                container["lastStatus"] = "STOPPED" if last_status == "STOPPED" else "PENDING"
                continue
            container["lastStatus"] = "RUNNING"
            digest = task.pins.get(container["name"]) or ecr.resolve(container["image"])
            if digest:
                container.setdefault("imageDigest", digest)

    def stop_task(self, cluster_str: str, task_str: str, reason: str) -> Task:
        """Stops a task, in whose place its service starts another."""
        if not self.describe_tasks(cluster_str, [task_str]):
            raise InvalidParameterException("The referenced task was not found.")
        task = super().stop_task(cluster_str, task_str, reason)
        self.move_task(task, "STOPPED", "STOPPED")
        for service in self.services.values():
            self._scale(service)
        return task

    def describe_tasks(self, cluster_str: str, tasks: list[str]) -> list[Task]:
        """Returns the tasks that are in the cluster, also stopped ones, which ECS forgets after an hour or more."""
        _check_length("tasks", tasks, _PAGE)
        ids = {_name(task) for task in tasks}
        return [task for task in self._tasks_of(cluster_str) if task.id in ids]

    def list_tasks(
        self,
        cluster_str: str | None = None,
        container_instance: str | None = None,
        family: str | None = None,
        started_by: str | None = None,
        service_name: str | None = None,
        desiredStatus: str | None = None,  # noqa: N803  # as moto calls it
    ) -> list[Task]:
        """Returns the tasks that are meant to run, unless another status is asked for."""
        group = f"service:{_name(service_name)}" if service_name else None
        return [
            task
            for task in self._tasks_of(cluster_str or "default")
            if task.desired_status == (desiredStatus or "RUNNING")
            and container_instance in {None, task.container_instance_arn}
            and family in {None, _name(task.task_definition_arn).partition(":")[0]}
            and started_by in {None, task.started_by}
            and group in {None, task.group}
        ]

    def _tasks_of(self, cluster: str) -> list[Task]:
        return list(self.tasks.get(self._get_cluster(cluster).name, {}).values())

    def create_service(self, cluster_str: str, service_name: str, *args: Any, **kwargs: Any) -> Service:
        """Creates a service and deploys it."""
        former = self.services.get(f"{self._get_cluster(cluster_str).name}:{service_name}")
        if former and former.status == "ACTIVE":
            raise InvalidParameterException("Creation of service was not idempotent.")
        service = super().create_service(cluster_str, service_name, *args, **kwargs)
        service.rollout = []
        if service.task_definition and service.deployment_controller["type"] == "ECS":
            self._deploy(service)
        return service

    def update_service(self, service_properties: Json) -> Service:
        """Changes a service; a new task definition, or force, is a deployment."""
        forced = service_properties.get("force_new_deployment", False)
        service = super().update_service(service_properties)
        if service.rollout:
            definition = self.describe_task_definition(service.task_definition)
            if forced or definition is not service.rollout[0].task_definition:
                self._deploy(service)
            else:
                self._scale(service)
        return service

    def delete_service(self, cluster_name: str, service_name: str, force: bool) -> Service:  # noqa: FBT001  # ditto
        """Deletes a service with its tasks. It can still be described."""
        service = super().delete_service(cluster_name, service_name, force)
        service.desired_count = 0
        self._retire(service.rollout)
        service.rollout = []
        self._show(service)
        return service

    def list_services(
        self, cluster_str: str, scheduling_strategy: str | None = None, launch_type: str | None = None
    ) -> list[str]:
        """Returns the services of a cluster that have not been deleted."""
        cluster = self._get_cluster(cluster_str).name
        return sorted(
            service.arn
            for service in self.services.values()
            if service.cluster_name == cluster
            and service.status == "ACTIVE"
            and scheduling_strategy in {None, service.scheduling_strategy}
            and launch_type in {None, service.launch_type}
        )

    def describe_services(
        self, cluster_str: str, service_names_or_arns: list[str]
    ) -> tuple[list[Service], list[dict[str, str]]]:
        """Returns services as they are now, and what is missing."""
        _check_length("services", service_names_or_arns, 10)
        services, failures = super().describe_services(cluster_str, service_names_or_arns)
        for service in services:
            self._show(service)
        return services, failures

    def _deploy(self, service: Service) -> None:
        definition = self.describe_task_definition(service.task_definition)
        service.task_definition = definition.arn
        deployment = _Deployment(definition, [_pinned(container) for container in definition.container_definitions])
        deployment.revision = f"{service.arn.replace(':service/', ':service-revision/')}/{deployment.number}"
        self.revisions[deployment.revision] = {
            "serviceRevisionArn": deployment.revision,
            "serviceArn": service.arn,
            "clusterArn": service.cluster_arn,
            "taskDefinition": definition.arn,
            "launchType": service.launch_type,
            "containerImages": deployment.images,
            "createdAt": deployment.created_at,
        }
        service.rollout.insert(0, deployment)
        self._scale(service)
        if not self.hold:
            self.finish_deployment(service)

    def finish_deployment(self, service: Service) -> None:
        """Lets the tasks of the newest revision run, and stops those of former ones."""
        newest, *former = service.rollout
        for task in newest.tasks:
            if task.last_status in _NOT_PULLED:
                self.move_task(task, "RUNNING")
        self._retire(former)
        self._show(service)

    def forget_revisions(self, service: Service) -> None:
        """Makes a service one that ECS has no revisions of, and for which it pinned nothing."""
        for deployment in service.rollout:
            self.revisions.pop(deployment.revision or "", None)
            deployment.revision, deployment.images = None, []
        self._show(service)

    def _scale(self, service: Service) -> None:
        """Starts or stops tasks of the newest deployment until there are as many as are desired."""
        for deployment in service.rollout[:1]:
            wanted = [task for task in deployment.tasks if task.desired_status == "RUNNING"]
            for task in wanted[service.desired_count :]:
                self.move_task(task, "STOPPED", "STOPPED")
            for _ in range(service.desired_count - len(wanted)):
                deployment.tasks.append(self._begin_for(service, deployment))
        self._show(service)

    def _begin_for(self, service: Service, deployment: _Deployment) -> Task:
        task = Task(
            self._get_cluster(service.cluster_name),
            deployment.task_definition,
            container_instance_arn=None,
            resource_requirements=None,
            backend=self,
            group=f"service:{service.name}",
            launch_type=service.launch_type,
            started_by=f"ecs-svc/{deployment.number}",
            networking_configuration=service.network_configuration or None,
        )
        self.tasks.setdefault(service.cluster_name, {})[task.task_arn] = task
        pins = {image["containerName"]: image["imageDigest"] for image in deployment.images if "imageDigest" in image}
        return self._begin(task, pins)

    def _retire(self, deployments: list[_Deployment]) -> None:
        for deployment in deployments:
            for task in deployment.tasks:
                self.move_task(task, "STOPPED", "STOPPED")

    @staticmethod
    def _show(service: Service) -> None:
        """Writes what is known of the deployments where moto's answers take it from."""
        service.rollout = [d for i, d in enumerate(service.rollout) if i == 0 or d.running or d.pending]
        service.running_count = sum(deployment.running for deployment in service.rollout)
        service.pending_count = sum(deployment.pending for deployment in service.rollout)
        service.deployments, revisions = [], []
        for i, deployment in enumerate(service.rollout):
            running, pending = deployment.running, deployment.pending
            desired = service.desired_count if i == 0 else running + pending
            service.deployments.append({
                "id": f"ecs-svc/{deployment.number}",
                "status": "ACTIVE" if i else "PRIMARY",
                "taskDefinition": deployment.task_definition.arn,
                "desiredCount": desired,
                "runningCount": running,
                "pendingCount": pending,
                "createdAt": deployment.created_at,
            })  # fmt: skip
            if deployment.revision:
                counts = {"requestedTaskCount": desired, "runningTaskCount": running, "pendingTaskCount": pending}
                revisions.append({"arn": deployment.revision, **counts})
        service.current_service_revisions = revisions or None


def _pinned(container: Json) -> Json:
    """A container's image as a service revision has it. What is not to be consistent is not pinned."""
    pins = container.get("versionConsistency") != "disabled"
    digest = ecr.resolve(container["image"]) if pins else None
    image = {"containerName": container["name"], "image": container["image"]}
    return image | ({"imageDigest": digest} if digest else {})


def _describe_tasks(response: EC2ContainerServiceResponse) -> ActionResult:
    result = _MOTO["describe_tasks"](response).result
    found = {task.id for task in result["tasks"]}
    cluster = _name(response._get_param("cluster", "default"))  # noqa: SLF001  # how every response of moto's reads
    backend = response.ecs_backend
    prefix = f"arn:aws:ecs:{backend.region_name}:{backend.account_id}:task/{cluster}/"
    result["failures"] = [
        {"arn": task if task.startswith("arn:") else prefix + task, "reason": "MISSING"}
        for task in response._get_param("tasks")  # noqa: SLF001
        if _name(task) not in found
    ]
    return ActionResult(result)


def _describe_service_revisions(response: EC2ContainerServiceResponse) -> ActionResult:
    arns = response._get_param("serviceRevisionArns")  # noqa: SLF001
    _check_length("serviceRevisionArns", arns, 20)
    known = response.ecs_backend.revisions
    return ActionResult({
        "serviceRevisions": [known[arn] for arn in arns if arn in known],
        "failures": [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in known],
    })  # fmt: skip


def _list_families(response: EC2ContainerServiceResponse) -> ActionResult:
    prefix, status = response._get_param("familyPrefix"), response._get_param("status")  # noqa: SLF001
    return ActionResult({"families": response.ecs_backend.families(prefix, status)})


_MOTO: dict[str, Callable[[Any], Any]] = {
    name: getattr(EC2ContainerServiceResponse, name) for name in (*_LISTS, "describe_tasks")
} | {"list_task_definition_families": _list_families}
"""The operations that are made of moto's own, which `install` replaces."""


def _paged(operation: str) -> Callable[[EC2ContainerServiceResponse], ActionResult]:
    key, default = _LISTS[operation]

    def answer(response: EC2ContainerServiceResponse) -> ActionResult:
        items = _MOTO[operation](response).result[key]
        size = response._get_param("maxResults", default)  # noqa: SLF001
        if not 1 <= size <= _PAGE:
            raise InvalidParameterException(f"maxResults must be between 1 and {_PAGE}")
        if response._get_param("sort") == "DESC":  # noqa: SLF001  # of task definitions only
            items = items[::-1]
        start = int(response._get_param("nextToken") or 0)  # noqa: SLF001
        stop = start + size
        return ActionResult({key: items[start:stop]} | ({"nextToken": str(stop)} if stop < len(items) else {}))

    return answer


def install() -> None:
    """From now on moto answers for ECS with this backend; what it had before is forgotten."""
    for operation in _LISTS:
        setattr(EC2ContainerServiceResponse, operation, _paged(operation))
    EC2ContainerServiceResponse.describe_tasks = _describe_tasks
    EC2ContainerServiceResponse.describe_service_revisions = _describe_service_revisions
    ecs_backends.reset()
    ecs_backends.clear()
    ecs_backends.backend = CorrectedECS


def _name(name_or_arn: str) -> str:
    return name_or_arn.rpartition("/")[2]


def _check_length(name: str, values: list[str], maximum: int) -> None:
    if not values:
        raise InvalidParameterException(f"{name} cannot be empty.")
    if len(values) > maximum:
        raise InvalidParameterException(f"{name} can have at most {maximum} items.")
