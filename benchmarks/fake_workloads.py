"""ECS and Lambda in memory, as far as one reads from them what runs, and fast.

The size of the account stands in the path of its address, as that of a repository stands in its name: behind `/20`
there are 20 clusters, with what belongs to each. Every answer follows from the names in the call; nothing is stored.
"""

import hashlib
import json
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

type Json = dict[str, Any]

SERVICES, TASKS, FAMILIES, FUNCTIONS = 50, 150, 25, 50
"""For each cluster. Two of the tasks run for each service; the others were started alone."""
VERSIONS = 3
"""Of each function, and revisions of each family of task definitions."""
CONTAINERS = 2
"""Of each task definition, each with an image of its own."""
IMAGES = CONTAINERS * (VERSIONS * FAMILIES + SERVICES + TASKS - 2 * SERVICES) + VERSIONS * FUNCTIONS
"""For each cluster: the tags in task definitions, the digests of services and of other tasks, those of functions."""
REPOSITORIES = 15
"""For each cluster; those of functions are the last five."""
_ECS = "arn:aws:ecs:us-east-1:123456789012"
_REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"

# What else AWS answers, so that the answers are as large as real ones.
_EVENTS = [{"id": f"event-{n}", "message": "(service web) has reached a steady state."} for n in range(100)]
_VARIABLES = [{"name": f"VARIABLE_{n}", "value": "a value of some length"} for n in range(20)]
_ATTACHMENT = {"id": "attachment", "type": "ElasticNetworkInterface", "status": "ATTACHED", "details": _VARIABLES[:6]}
_CONFIGURATION = {
    "Role": "arn:aws:iam::123456789012:role/function",
    "Environment": {"Variables": {each["name"]: each["value"] for each in _VARIABLES}},
    "TracingConfig": {"Mode": "PassThrough"},
    "PackageType": "Image",
    "Architectures": ["x86_64"],
    "MemorySize": 1024,
    "Timeout": 30,
}


def respond(path: str, operation: str, body: bytes) -> Json:
    """Does what one call asks for. Lambda has the parameters in the path, ECS in the body."""
    url = urllib.parse.urlsplit(path)
    _, clusters, *rest = url.path.split("/")
    call = json.loads(body) if body else {"FunctionName": rest[-1], **dict(urllib.parse.parse_qsl(url.query))}
    return _OPERATIONS[operation](int(clusters), call)


def lambda_operation(path: str) -> str | None:
    """Returns the operation of Lambda that a path means; None for any other path."""
    _, found, name = path.partition("?")[0].partition("/2015-03-31/functions")
    return ("GetFunction" if name.strip("/") else "ListFunctions") if found else None


def _list_clusters(clusters: int, call: Json) -> Json:
    return _paged("clusterArns", [f"{_ECS}:cluster/c{c}" for c in range(clusters)], call)


def _list_tasks(_: int, call: Json) -> Json:
    cluster = _last(call["cluster"])
    return _paged("taskArns", [f"{_ECS}:task/{cluster}/t{t}" for t in range(TASKS)], call)


def _list_services(_: int, call: Json) -> Json:
    cluster = _last(call["cluster"])
    return _paged("serviceArns", [f"{_ECS}:service/{cluster}/s{s}" for s in range(SERVICES)], call)


def _list_families(clusters: int, call: Json) -> Json:
    return _paged("families", [f"c{c}-f{f}" for c in range(clusters) for f in range(FAMILIES)], call)


def _list_task_definitions(_: int, call: Json) -> Json:
    family = call["familyPrefix"]
    return _paged("taskDefinitionArns", [_definition(family, revision) for revision in range(VERSIONS, 0, -1)], call)


def _describe_tasks(_: int, call: Json) -> Json:
    return {"tasks": [_task(arn) for arn in call["tasks"]], "failures": []}


def _task(arn: str) -> Json:
    cluster, task = arn.split("/")[1:]
    alone = int(task[1:]) - 2 * SERVICES
    service = f"s{int(task[1:]) // 2}"
    family, revision = _run_by(cluster, service) if alone < 0 else (f"{cluster}-f{alone % FAMILIES}", VERSIONS)
    return {
        "taskArn": arn,
        "group": f"service:{service}" if alone < 0 else f"family:{family}",
        "taskDefinitionArn": _definition(family, revision),
        "containers": _containers(family, revision, f"{cluster}/{service if alone < 0 else task}"),
        "lastStatus": "RUNNING",
        "attachments": [_ATTACHMENT],
    }


def _describe_services(_: int, call: Json) -> Json:
    return {"services": [_service(arn) for arn in call["services"]], "failures": []}


def _service(arn: str) -> Json:
    cluster, service = arn.split("/")[1:]
    definition = _definition(*_run_by(cluster, service))
    return {
        "serviceArn": arn,
        "serviceName": service,
        "status": "ACTIVE",
        "taskDefinition": definition,
        "deployments": [{"id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": definition}],
        "currentServiceRevisions": [{"arn": f"{_ECS}:service-revision/{cluster}/{service}/1"}],
        "events": _EVENTS,
    }


def _describe_service_revisions(_: int, call: Json) -> Json:
    return {"serviceRevisions": [_revision(arn) for arn in call["serviceRevisionArns"]], "failures": []}


def _revision(arn: str) -> Json:
    cluster, service = arn.split("/")[1:3]
    family, revision = _run_by(cluster, service)
    images = _containers(family, revision, f"{cluster}/{service}")
    return {
        "serviceRevisionArn": arn,
        "taskDefinition": _definition(family, revision),
        "containerImages": [{"image": each["image"], "imageDigest": each["imageDigest"]} for each in images],
    }


def _describe_task_definition(_: int, call: Json) -> Json:
    family, revision = _last(call["taskDefinition"]).split(":")
    containers = [
        {"name": each["name"], "image": each["image"], "environment": _VARIABLES}
        for each in _containers(family, int(revision), "")
    ]
    return {"taskDefinition": {"family": family, "revision": int(revision), "containerDefinitions": containers}}


def _list_functions(clusters: int, call: Json) -> Json:
    numbers = range(int(call.get("Marker", 0)), clusters * FUNCTIONS * VERSIONS)
    page = numbers[: int(call["MaxItems"])]
    functions = [
        {"FunctionName": f"function-{n // VERSIONS}", "Version": f"{n % VERSIONS or '$LATEST'}", **_CONFIGURATION}
        for n in page
    ]
    return {"Functions": functions, **({"NextMarker": str(page.stop)} if page.stop < numbers.stop else {})}


def _get_function(_: int, call: Json) -> Json:
    number = int(call["FunctionName"].rpartition("-")[2])
    repository = f"{_REGISTRY}/c{number // FUNCTIONS}/r{REPOSITORIES - 1 - number % 5}"
    digest = _digest(f"{call['FunctionName']}:{call['Qualifier']}")
    code = {"ImageUri": f"{repository}:latest", "ResolvedImageUri": f"{repository}@{digest}", "RepositoryType": "ECR"}
    return {"Configuration": _CONFIGURATION, "Code": code}


_OPERATIONS: Mapping[str, Callable[[int, Json], Json]] = {
    "ListClusters": _list_clusters,
    "ListTasks": _list_tasks,
    "ListServices": _list_services,
    "ListTaskDefinitionFamilies": _list_families,
    "ListTaskDefinitions": _list_task_definitions,
    "DescribeTasks": _describe_tasks,
    "DescribeServices": _describe_services,
    "DescribeServiceRevisions": _describe_service_revisions,
    "DescribeTaskDefinition": _describe_task_definition,
    "ListFunctions": _list_functions,
    "GetFunction": _get_function,
}
OPERATIONS = tuple(_OPERATIONS)
LAMBDA_OPERATIONS = ("ListFunctions", "GetFunction")
"""All others are of ECS."""


def _run_by(cluster: str, service: str) -> tuple[str, int]:
    """Returns the family and the revision that a service runs: the newest, or the one before."""
    number = int(service[1:])
    return f"{cluster}-f{number % FAMILIES}", VERSIONS - number // FAMILIES


def _containers(family: str, revision: int, pulled_by: str) -> list[Json]:
    """Returns the containers of a task definition, with the digests that somebody has pulled."""
    cluster, number = family.split("-f")
    repositories = [f"{_REGISTRY}/{cluster}/r{(CONTAINERS * int(number) + n) % 10}" for n in range(CONTAINERS)]
    return [
        {
            "name": f"container-{n}",
            "image": f"{repository}:{family}-{revision}",
            "imageDigest": _digest(f"{pulled_by}/{n}"),
        }
        for n, repository in enumerate(repositories)
    ]


def _definition(family: str, revision: int) -> str:
    return f"{_ECS}:task-definition/{family}:{revision}"


def _paged(name: str, items: Sequence[str], call: Json) -> Json:
    start = int(call.get("nextToken", 0))
    stop = start + call.get("maxResults", 100)
    return {name: items[start:stop], **({"nextToken": str(stop)} if stop < len(items) else {})}


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]


def _digest(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
