"""The composition root: settings and AWS clients become one value, which is passed on as an argument."""

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import boto3

from .concurrency import Deadline, TaskPool
from .guards import Rules
from .models.request import DeletionRequest, Registry
from .registry import Repository, disable_unsafe_retries, limit_concurrency, read_responses_as_sent
from .settings import Settings
from .step_table import StepTable

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

    from .registry.replication import Replication
    from .usage.guard import Usage


class Services:
    """The settings, and a client for each AWS service that is called."""

    def __init__(self, settings: Settings) -> None:
        """Makes the clients, which is most of a cold start."""
        config, url = settings.client_config(), settings.endpoint_url
        self.settings = settings
        self.ecr = boto3.client("ecr", config=config, endpoint_url=url)
        self.sns = boto3.client("sns", config=config, endpoint_url=url)
        self.dynamodb = boto3.client("dynamodb", config=config, endpoint_url=url)
        disable_unsafe_retries(self.ecr)
        read_responses_as_sent(self.ecr)
        limit_concurrency(self.ecr, settings.max_concurrent_calls)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Services":
        """Reads the settings from the environment; raises SettingsError."""
        return cls(Settings.from_env(env))

    @cached_property
    def sqs(self) -> "SQSClient":
        """Made when it is first needed, for few requests lead to others."""
        return boto3.client("sqs", config=self.settings.client_config(), endpoint_url=self.settings.endpoint_url)

    @cached_property
    def events(self) -> "EventBridgeClient":
        """Made when it is first needed: not at all where no result events are sent."""
        return boto3.client("events", config=self.settings.client_config(), endpoint_url=self.settings.endpoint_url)

    @cached_property
    def replication(self) -> "Replication | None":
        """Where deletions go as well; None where nobody asks, for what is in use is not protected."""
        if not self.settings.protect_in_use:
            return None
        from .registry.replication import Replication  # noqa: PLC0415  # what is not used is not imported

        return Replication(self.ecr)

    def usage(self) -> "Usage | None":
        """Returns what is in use, as one invocation is to know it; None where the stack does not protect it."""
        settings = self.settings
        if not settings.protect_in_use:
            return None
        from .usage.guard import Usage  # noqa: PLC0415  # what is not used is not imported
        from .usage.inventory import Inventory  # noqa: PLC0415

        return Usage(Inventory(self.dynamodb, settings.usage_table), settings.sources_of_use)

    @property
    def rules(self) -> Rules:
        """The stack's guards, as its parameters set them."""
        settings = self.settings
        return Rules(
            settings.protected_tags, settings.protected_repositories, settings.repository_patterns, settings.dry_run
        )


class Invocation(NamedTuple):
    """One invocation of the function: its context, its threads and the time that is left."""

    context: "LambdaContext"
    pool: TaskPool
    deadline: Deadline
    account_id: str
    """The function's own account."""
    usage: "Usage | None" = None
    """What is in use; None where the stack does not protect it."""

    @property
    def registry(self) -> Registry:
        """The function's own registry."""
        _, partition, _, region, account_id, *_ = self.context.invoked_function_arn.split(":")
        return Registry(partition, region, account_id)

    def repository(self, services: Services, request: DeletionRequest) -> Repository:
        """Returns the request's repository."""
        calling, sleep = self.deadline.calling, self.deadline.sleep
        return Repository(services.ecr, request.repository_name, request.registry_id, calling, sleep)

    def step_table(self, services: Services) -> StepTable:
        """Returns the table as one arrival uses it."""
        return StepTable.of(services.dynamodb, services.settings.idempotency_table, self.context)
