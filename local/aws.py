"""The embedded AWS: moto in this process, with the template deployed."""

import copy
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import boto3
from botocore.config import Config
from moto.ecr.models import ecr_backends
from moto.events.models import events_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from . import ecr, ecr_storage, ecs, functions, inspector, resources, sns, sqs, template
from .server import Application, Server
from .sns import Notice

__all__ = ["ACCOUNT_ID", "DEFAULT_PARAMETERS", "REGION", "USER_AGENT", "EmbeddedAWS", "Function", "Notice"]

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
STACK_NAME = "ecr-image-deletion"
USER_AGENT = "embedded-aws"
"""A part of the user agent of this module's own clients, by which their calls differ from those of the function."""

_RESULTS = "results"
"""The rule, and the queue, of result events."""
_SCHEDULED = json.loads((Path(__file__).resolve().parent.parent / "events" / "schedule.json").read_text())
DEFAULT_PARAMETERS = {
    "RepositoryPattern": "*",
    "AllowPercentInRequests": "true",
    "EventBusName": "default",
    "ScheduleExpression": "cron(0 4 * * ? *)",
    "ScheduleRequest": json.dumps(
        _SCHEDULED | {"requestId": "<aws.scheduler.schedule-arn>/<aws.scheduler.scheduled-time>"}
    ),
}
"""The stack's parameters unless others are given: everything here may be deleted, and requests arrive in all ways."""


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function, as far as the poller must know it."""

    name: str
    arn: str
    timeout: int
    """Seconds that one invocation may take."""
    memory: int
    """MB."""
    batch_size: int
    """Messages handed to it at a time; 0 where it takes none from a queue."""


class EmbeddedAWS:
    """An AWS account of this process's own, as a context manager.

    `parameters` are those of the template, beside DEFAULT_PARAMETERS. Port 0 means any free port. moto's state belongs
    to the process, so one at a time.
    """

    def __init__(self, parameters: Mapping[str, str] | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.stack_name = STACK_NAME
        self.parameters = DEFAULT_PARAMETERS | dict(parameters or {})
        self._host = host
        self._port = port

    def __enter__(self) -> Self:
        for service in (ecr, ecs, functions, inspector, resources, sns, sqs):
            service.install()
        self._server = Server(self._host, self._port)
        self.port = self._server.port
        self.endpoint_url = f"http://{'127.0.0.1' if self._host == '0.0.0.0' else self._host}:{self.port}"  # noqa: S104
        self.client = cache(self._client)
        self._template = json.dumps(template.deployable())
        try:
            self.reset()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        _forget_everything()

    def reset(self) -> None:
        """Forgets everything and deploys the stack again."""
        _forget_everything()
        self._deploy()

    def beside(self, stack_name: str, parameters: Mapping[str, str]) -> Self:
        """Deploys the template once more, as another stack of the same account and region; returns that stack."""
        other = copy.copy(self)
        other.stack_name = stack_name
        other.parameters = DEFAULT_PARAMETERS | dict(parameters)
        other._deploy()  # noqa: SLF001  # of its own class
        return other

    def _deploy(self) -> None:
        template.check_parameters(self.parameters)
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=self.stack_name,
            TemplateBody=self._template,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()],
        )
        [stack] = cloudformation.describe_stacks(StackName=self.stack_name)["Stacks"]
        if stack["StackStatus"] != "CREATE_COMPLETE":
            raise RuntimeError(f"the stack could not be deployed: {stack['StackStatus']}")
        self.outputs: dict[str, str] = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
        deployed = cloudformation.describe_stack_resources(StackName=self.stack_name)["StackResources"]
        self.resources: dict[str, str] = {  # moto lists what a condition left out as an empty entry
            r["LogicalResourceId"]: r["PhysicalResourceId"] for r in deployed if "PhysicalResourceId" in r
        }
        self.function, self.environment = self._deployed_function("DeletionFunction")
        self.bulk_function, self.bulk_environment = self._deployed_function("BulkFunction")
        self.usage_environment: dict[str, str] = {}
        """Of the function that reads what is in use; empty where the stack has none."""
        if "UsageFunction" in self.resources:
            _, self.usage_environment = self._deployed_function("UsageFunction")

    @property
    def lanes(self) -> dict[str, Function]:
        """The function that takes the messages of each queue, by the queue's logical name."""
        return {"RequestQueue": self.function, "BulkQueue": self.bulk_function}

    def _deployed_function(self, logical_name: str) -> tuple[Function, dict[str, str]]:
        """Returns a function of the stack, and the environment that it runs in."""
        name = self.resources[logical_name]
        deployed = self.client("lambda").get_function_configuration(FunctionName=name)
        function = Function(
            name=name,
            arn=deployed["FunctionArn"],
            timeout=deployed["Timeout"],
            memory=deployed["MemorySize"],
            batch_size=template.batch_size(logical_name) if logical_name != "UsageFunction" else 0,
        )
        variables = deployed["Environment"]["Variables"]
        return function, {name: str(value) for name, value in variables.items()} | {
            "ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            # Not its memory, by which it would keep the process that it is loaded into on one processor.
        }

    def notices(self) -> list[Notice]:
        """All that was published to the stack's topic, in order."""
        topic = self.outputs["NotificationTopicArn"]
        return [notice for arn, notice in sns_backends[ACCOUNT_ID][REGION].published if arn == topic]

    def messages(self, queue: str) -> list[str]:
        """The bodies of the messages on a queue, by its logical name; they stay there, and are not received by this."""
        return [message.body for message in self._queue(queue)._messages]  # noqa: SLF001  # those in flight too

    def listen(self, **pattern: Any) -> None:
        """Has a rule put the stack's result events, or what else this pattern matches, on a queue of its own."""
        sqs, events = self.client("sqs"), self.client("events")
        url = sqs.create_queue(QueueName=_RESULTS)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.put_rule(Name=_RESULTS, EventPattern=json.dumps(pattern or {"source": [self.stack_name]}))
        events.put_targets(Rule=_RESULTS, Targets=[{"Id": "queue", "Arn": arn}])

    def results(self) -> list[Any]:
        """The events that `listen` has put there, in order."""
        queue = sqs_backends[ACCOUNT_ID][REGION].get_queue(_RESULTS)
        return [json.loads(message.body) for message in queue._messages]  # noqa: SLF001  # they stay there

    def send(self, *bodies: str) -> list[str]:
        """Puts messages on the request queue; returns their messageIds."""
        sqs, url = self.client("sqs"), self.outputs["RequestQueueUrl"]
        return [sqs.send_message(QueueUrl=url, MessageBody=body)["MessageId"] for body in bodies]

    def _queue(self, logical_name: str) -> Any:
        return sqs_backends[ACCOUNT_ID][REGION].get_queue(self.resources[logical_name].rpartition("/")[2])

    def images(self, repository: str) -> set[tuple[str, tuple[str, ...]]]:
        """The digest and the sorted tags of each image of a repository, which must exist; archived ones too."""
        pages = (
            self.client("ecr")
            .get_paginator("describe_images")
            .paginate(repositoryName=repository, filter={"imageStatus": "ANY"})
        )
        details = itertools.chain.from_iterable(page["imageDetails"] for page in pages)
        return {(image["imageDigest"], tuple(sorted(image.get("imageTags", [])))) for image in details}

    def age(self, repository: str, digest: str, *, days: float, pulled: float | None = None) -> None:
        """Makes an image so many days old, and last pulled so many days ago."""
        image = _stored_image(repository, digest)
        image.image_pushed_at = _days_ago(days)
        if pulled is not None:
            image.last_recorded_pull_time = _days_ago(pulled)

    def archive(self, repository: str, digest: str, *, days: float = 0) -> None:
        """Archives an image, so many days ago."""
        ecr_storage.archive(_stored_image(repository, digest), at=_days_ago(days))

    def restore(self, repository: str, digest: str, *, days: float = 0) -> None:
        """Restores an image from the archive, which was done so many days ago."""
        ecr_storage.restore(_stored_image(repository, digest), at=_days_ago(days))

    @contextmanager
    def behind(self, wrap: Callable[[Application], Application]) -> Iterator[None]:
        """Puts an application of the caller's before the services, while it lasts."""
        services = self._server.application
        self._server.application = wrap(services)
        try:
            yield
        finally:
            self._server.application = services

    def put_event(self, event: Mapping[str, Any]) -> str:
        """Does what the default bus does with an event, whatever account and service it comes from; returns its id."""
        rules = events_backends[ACCOUNT_ID][REGION].event_buses["default"].rules.values()
        for rule in [rule for rule in rules if not rule.scheduled_expression]:
            rule.send_to_targets({**copy.deepcopy(event), "time": time.time(), "ingestion-time": time.time()})
        return str(event["id"])

    def run_schedule(self, at: datetime | None = None, *, schedule_name: str = "RequestSchedule") -> str:
        """Does what EventBridge Scheduler does at that time (now, if none is given); returns the messageId.

        `schedule_name` is the logical name of one.
        """
        scheduler = self.client("scheduler")
        group = self.resources["ScheduleGroup"]
        schedule = scheduler.get_schedule(Name=self.resources[schedule_name], GroupName=group)
        attributes = {
            "schedule-arn": schedule["Arn"],
            "scheduled-time": (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "execution-id": str(uuid4()),
            "attempt-number": "1",
        }
        body: str = schedule["Target"]["Input"]
        for name, value in attributes.items():
            body = body.replace(f"<aws.scheduler.{name}>", value)
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=schedule["Target"]["Arn"].rpartition(":")[2])["QueueUrl"]
        message_id: str = sqs.send_message(QueueUrl=url, MessageBody=body)["MessageId"]
        return message_id

    def _client(self, service: str) -> Any:
        """A boto3 client that reaches this server only, with credentials that open nothing."""
        session = boto3.Session("testing", "testing", region_name=REGION)
        config = Config(
            proxies={},
            retries={"total_max_attempts": 1},
            max_pool_connections=50,
            read_timeout=30,
            user_agent_extra=USER_AGENT,
        )
        connect: Any = session.client  # typed for each service by its literal name
        return connect(service, endpoint_url=self.endpoint_url, config=config)


def _stored_image(repository: str, digest: str) -> Any:
    """An image as moto keeps it."""
    images = ecr_backends[ACCOUNT_ID][REGION].repositories[repository].images
    [image] = [image for image in images if image.image_digest == digest]
    return image


def _days_ago(days: float) -> int:
    return int(time.time() - days * 86_400)


def _forget_everything() -> None:
    moto_api_backend.reset()
