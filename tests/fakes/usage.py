"""ECS, Lambda and Inspector in memory, reached through real botocore clients, as far as the usage of images is read."""

import json
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from handler.usage.settings import ReaderSettings
from tests.fakes.aws import response

type Json = dict[str, Any]
type Edit = Callable[[Json], Any]
"""Changes an answer in place, or returns another one."""

REGION = "us-east-1"
ACCOUNT = "123456789012"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
MISSING = "MISSING"


def digest(number: int) -> str:
    """A digest that stands for a number."""
    return f"sha256:{number:064x}"


def ecs_arn(kind: str, name: str) -> str:
    """The ARN of a resource of ECS."""
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{name}"


def client(service: str, behind: "FakeUsage") -> Any:
    """A client that asks once, with the fake behind it."""
    config = ReaderSettings.client_config()
    made: Any = boto3.client(service, config=config, region_name=REGION)  # type: ignore[call-overload]
    made.meta.events.register("before-send", behind.before_send)
    return made


@dataclass
class FakeUsage:
    """What runs, and how often each operation was called."""

    clusters: list[str] = field(default_factory=list)
    tasks: defaultdict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    """Of each cluster, by its name."""
    services: defaultdict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    revisions: list[Json] = field(default_factory=list)
    families: dict[str, list[list[str]]] = field(default_factory=dict)
    """Of each family, the images of each of its revisions, the oldest first."""
    functions: list[Json] = field(default_factory=list)
    """One for each version, with its Code beside its configuration."""
    coverage: list[Json] = field(default_factory=list)
    covers_images: bool = True
    page: int = 2
    """The most that a list has on a page."""
    edits: dict[str, Edit] = field(default_factory=dict)
    """What becomes of each answer of an operation."""
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, Json]] = field(default_factory=list)

    # What happens

    def run_task(self, cluster: str, *containers: Json, group: str = "family:job", family: str = "job") -> str:
        """Starts a task, and returns its ARN."""
        arn = ecs_arn("task", f"{cluster}/{len(self.tasks[cluster])}")
        definition = ecs_arn("task-definition", f"{family}:1")
        task = {"taskArn": arn, "group": group, "taskDefinitionArn": definition, "containers": list(containers)}
        self.tasks[cluster].append(task)
        return arn

    def run_service(self, cluster: str, name: str, definition: str = "", **members: Any) -> str:
        """Creates a service, and returns its ARN."""
        arn = ecs_arn("service", f"{cluster}/{name}")
        service = {"serviceArn": arn, "serviceName": name, "status": "ACTIVE", **members}
        if definition:
            service["taskDefinition"] = ecs_arn("task-definition", definition)
        self.services[cluster].append(service)
        return arn

    def deploy(self, service: str, definition: str, *images: Json) -> Json:
        """Makes a revision of a service, and returns what the service says of it."""
        arn = ecs_arn("service-revision", f"{service}/{len(self.revisions)}")
        task_definition = ecs_arn("task-definition", definition)
        revision = {"serviceRevisionArn": arn, "taskDefinition": task_definition, "containerImages": list(images)}
        self.revisions.append(revision)
        return {"arn": arn}

    # What is asked

    def before_send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        """Answers a request that botocore is about to send."""
        operation = event_name.rpartition(".")[2]
        url = urllib.parse.urlsplit(request.url)
        body: Any = request.body
        parameters: Json = json.loads(body) if body else dict(urllib.parse.parse_qsl(url.query))
        parameters["path"] = urllib.parse.unquote(url.path)
        self.calls[operation] += 1
        self.asked.append((operation, parameters))
        answer = getattr(self, f"_{operation}")(parameters)
        if operation in self.edits:
            answer = self.edits[operation](answer) or answer
        return answer if isinstance(answer, AWSResponse) else response(200, json.dumps(answer))

    def _paged(self, items: list[Any], name: str, call: Json, token: str = "nextToken") -> Json:  # noqa: S107  # no secret
        most = min(self.page, int(call.get("maxResults") or call.get("MaxItems") or 10))
        start = int(call.get(token.replace("NextMarker", "Marker"), 0))
        answer: Json = {name: items[start : start + most]}
        return answer | ({token: str(start + most)} if start + most < len(items) else {})

    def _ListClusters(self, call: Json) -> Json:  # noqa: N802  # as AWS calls it
        return self._paged([ecs_arn("cluster", name) for name in self.clusters], "clusterArns", call)

    def _ListTasks(self, call: Json) -> Json:  # noqa: N802
        return self._paged([task["taskArn"] for task in self.tasks[_name(call["cluster"])]], "taskArns", call)

    def _ListServices(self, call: Json) -> Json:  # noqa: N802
        arns = [service["serviceArn"] for service in self.services[_name(call["cluster"])]]
        return self._paged(arns, "serviceArns", call)

    def _ListTaskDefinitionFamilies(self, call: Json) -> Json:  # noqa: N802
        assert call["status"] == "ACTIVE"
        return self._paged(list(self.families), "families", call)

    def _ListTaskDefinitions(self, call: Json) -> Json:  # noqa: N802
        family = call["familyPrefix"]
        arns = [ecs_arn("task-definition", f"{family}:{n}") for n in range(1, len(self.families[family]) + 1)]
        assert (call["sort"], call["status"]) == ("DESC", "ACTIVE")
        return self._paged(arns[::-1], "taskDefinitionArns", call)

    def _DescribeTasks(self, call: Json) -> Json:  # noqa: N802
        return _described(self.tasks[_name(call["cluster"])], "taskArn", call["tasks"], "tasks", most=100)

    def _DescribeServices(self, call: Json) -> Json:  # noqa: N802
        found = self.services[_name(call["cluster"])]
        return _described(found, "serviceArn", call["services"], "services", most=10)

    def _DescribeServiceRevisions(self, call: Json) -> Json:  # noqa: N802
        arns = call["serviceRevisionArns"]
        return _described(self.revisions, "serviceRevisionArn", arns, "serviceRevisions", most=20)

    def _DescribeTaskDefinition(self, call: Json) -> Json:  # noqa: N802
        family, _, revision = _name(call["taskDefinition"]).partition(":")
        images = self.families[family][int(revision) - 1]
        return {"taskDefinition": {"containerDefinitions": [{"image": image} for image in images]}}

    def _ListFunctions(self, call: Json) -> Json:  # noqa: N802
        assert call["FunctionVersion"] == "ALL"
        listed = [{name: value for name, value in each.items() if name != "Code"} for each in self.functions]
        return self._paged(listed, "Functions", call, "NextMarker")

    def _GetFunction(self, call: Json) -> Any:  # noqa: N802
        wanted = (_name(call["path"]), call["Qualifier"])
        for each in self.functions:
            if (each["FunctionName"], each["Version"]) == wanted and "Code" in each:
                return {"Configuration": {}, "Code": each["Code"]}
        return response(404, json.dumps({"__type": "ResourceNotFoundException", "Message": "none"}))

    def _ListCoverage(self, call: Json) -> Json:  # noqa: N802
        images = {"resourceType": [{"comparison": "EQUALS", "value": "AWS_ECR_CONTAINER_IMAGE"}]}
        if call["filterCriteria"] == images:  # whether it covers any, in use or not
            return {"coveredResources": [{"resourceId": "some image"}] if self.covers_images else []}
        assert call["filterCriteria"] == images | {"ecrImageInUseCount": [{"lowerInclusive": 1}]}
        return self._paged(self.coverage, "coveredResources", call)


def _name(text: str) -> str:
    return text.rpartition("/")[2]


def _described(known: list[Json], key: str, asked: list[str], name: str, *, most: int) -> Json:
    """What is known of all that is asked for, and that the rest is missing."""
    assert 0 < len(asked) <= most
    by_arn = {each[key]: each for each in known}
    missing = [{"arn": arn, "reason": MISSING} for arn in asked if arn not in by_arn]
    return {name: [by_arn[arn] for arn in asked if arn in by_arn], "failures": missing}
