"""botocore's clients, made once for all tests, before whichever AWS a test puts behind them."""

import copy
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from handler.bootstrap import Services
from handler.registry import read_responses_as_sent
from tests.environment import VARIABLES
from tests.fakes.aws import FakeAWS


class Clients:
    """The function's services; what they ask is passed on to the AWS that is behind them at the moment.

    The client for ECR asks once, for how often it asks again is a matter of test_client.py alone. That for DynamoDB
    asks as often as ever, but without the quota of retries that a client keeps, which all tests would share.
    """

    def __init__(self) -> None:
        self._behind = FakeAWS()
        self._services = Services.from_env(VARIABLES)
        config = self._services.settings.client_config()
        self._services.ecr = boto3.client("ecr", config=config.merge(Config(retries={"total_max_attempts": 1})))
        read_responses_as_sent(self._services.ecr)
        legacy = Config(retries={"mode": "legacy", "total_max_attempts": 5})
        self._services.dynamodb = boto3.client("dynamodb", config=config.merge(legacy))
        self.ecr_client, self.dynamodb_client = self._services.ecr, self._services.dynamodb
        services = self._services
        for client in (services.ecr, services.dynamodb, services.sns, services.sqs, services.events):
            register: Any = client.meta.events.register  # the stubs know only hooks that answer nothing
            register("before-send", self._before_send)

    def use[T: FakeAWS](self, aws: T) -> T:
        """Puts another AWS behind the clients."""
        self._behind = aws
        return aws

    def _before_send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        return self._behind.before_send(request, event_name)

    def services(self, **settings: Any) -> Services:
        """Returns the function's services with these settings, beside those of tests/environment.py."""
        services = copy.copy(self._services)
        services.settings = services.settings._replace(**settings)
        return services
