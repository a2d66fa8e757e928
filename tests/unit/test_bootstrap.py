"""Settings and AWS clients as one value."""

from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from handler.bootstrap import Invocation, Services
from handler.concurrency import Deadline, TaskPool
from handler.guards import Rules
from handler.models.errors import OutOfTimeError, SettingsError
from local.runtime import FakeLambdaContext
from tests.environment import VARIABLES as ENV
from tests.fakes.aws import FakeAWS, response
from tests.values import ACCOUNT, FOREIGN, deletion_request


def invocation(context: Any, remaining_seconds: float = 60) -> Invocation:
    """Returns an invocation with so much time left, in which no thread is needed."""
    pool: Any = None
    return Invocation(context, TaskPool(pool, 1), Deadline(lambda: remaining_seconds), ACCOUNT)


class FailingAWS(FakeAWS):
    """Services that fail whatever they are asked."""

    def serve(self, service: str, operation: str, body: Any) -> AWSResponse:
        del service, operation, body
        return response(500, '{"__type": "ServerException"}')


def test_the_clients_call_as_the_settings_say() -> None:
    """Under a name that CloudTrail shows; a deletion that ECR fails at is never repeated unseen."""
    services, aws = Services.from_env(ENV), FailingAWS()
    aws.connect(services.ecr)
    with pytest.raises(ClientError, match="ServerException"):
        services.ecr.batch_delete_image(repositoryName="team/app", imageIds=[{"imageTag": "a"}])
    assert aws.calls["BatchDeleteImage"] == 1
    for client in (services.ecr, services.sns, services.dynamodb, services.sqs):
        config: Any = client.meta.config
        assert config.user_agent.split()[0] == "ecr-image-deletion"
        assert config.retries["mode"] == "adaptive"


def test_the_client_of_sqs_is_made_when_it_is_needed() -> None:
    """Few requests lead to others; the client is made once."""
    services = Services.from_env(ENV)
    assert "sqs" not in vars(services)
    assert services.sqs is services.sqs


def test_a_stack_without_its_settings_does_not_start() -> None:
    """The error names the variable."""
    with pytest.raises(SettingsError, match="IDEMPOTENCY_TABLE"):
        Services.from_env({})


def test_the_rules_are_those_of_the_settings() -> None:
    """Protected tags and repositories, where the stack deletes at all, and whether it does."""
    services = Services.from_env(
        ENV
        | {
            "PROTECTED_TAGS": "prod*",
            "PROTECTED_REPOSITORIES": "base",
            "REPOSITORY_PATTERN": "team/*,ci/*",
            "DRY_RUN": "true",
        }
    )
    assert services.rules == Rules(("prod*",), ("base",), ("team/*", "ci/*"), dry_run=True)


def test_a_repository_is_that_of_the_request() -> None:
    """In the registry that the request names, and with a look at the clock before each call."""
    services = Services.from_env(ENV)
    repository = invocation(FakeLambdaContext()).repository(services, deletion_request(registry_id=FOREIGN))
    assert repository.scope == {"repositoryName": "team/app", "registryId": FOREIGN}
    late = invocation(FakeLambdaContext(), remaining_seconds=0.1).repository(services, deletion_request())
    assert late.scope == {"repositoryName": "team/app"}
    with pytest.raises(OutOfTimeError), late.calling():
        raise AssertionError("no time is left for a call")


def test_two_arrivals_of_one_invocation_own_their_steps_apart() -> None:
    """Neither takes over a step that the other has in progress."""
    services, this = Services.from_env(ENV), invocation(FakeLambdaContext())
    first, second = (this.step_table(services) for _ in range(2))
    assert first.owner != second.owner
