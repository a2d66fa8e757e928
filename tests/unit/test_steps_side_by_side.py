"""The first steps of a new copy of the function run side by side, and are told apart as any others."""

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3
import jmespath  # type: ignore[import-untyped]
import pytest
from aws_lambda_powertools.utilities.idempotency import idempotent_function
from moto import mock_aws

from handler.steps import StepStore, step_config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Invocation:
    """The context of an invocation with half a minute left."""

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


@pytest.fixture
def dynamodb() -> Iterator["DynamoDBClient"]:
    """A DynamoDB in memory."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        client.create_table(
            TableName="steps",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


def test_first_steps_side_by_side(dynamodb: "DynamoDBClient") -> None:
    """Both are found again by the key of each, and so are done once."""
    compile_ = jmespath.compile
    done: list[str] = []

    def slowly(expression: str) -> Any:
        time.sleep(0.2)
        return compile_(expression)

    def run(*, step: dict[str, str]) -> dict[str, str]:
        done.append(step["key"])
        return step

    config = step_config()
    config.register_lambda_context(Invocation())  # type: ignore[arg-type]  # what Powertools uses of it
    with mock.patch("aws_lambda_powertools.utilities.idempotency.persistence.base.jmespath.compile", slowly):
        once = idempotent_function(
            run,
            data_keyword_argument="step",
            persistence_store=StepStore("steps", dynamodb, config),
            config=config,
            key_prefix="delete",
        )
        threads = [threading.Thread(target=once, kwargs={"step": {"key": key, "content": "c"}}) for key in ("a", "b")]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        for thread in threads:
            thread.join()
    for key in ("a", "b"):
        once(step={"key": key, "content": "c"})
    assert sorted(done) == ["a", "b"]
