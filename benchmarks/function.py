"""The function as it is measured: its package, its environment, and what Lambda hands to it."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / ".aws-sam" / "build" / "DeletionFunction"
POOL = 12
"""MaxConcurrentCalls, by default."""
MEMORY_MB = 1024
"""MemorySize."""
CHUNK_SIZE = 100
ACCOUNT = "123456789012"
TIMEOUT_SECONDS = 120
"""Timeout."""


def environment(ecr_url: str, others_url: str) -> dict[str, str]:
    """What the function is told: the template's variables, where the local AWS listens, and nobody's credentials.

    All parameters have their defaults but MaxImagesPerRequest, which must let the large requests in.
    """
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_ECR": ecr_url,
        "AWS_ENDPOINT_URL_DYNAMODB": others_url,
        "AWS_ENDPOINT_URL_SNS": others_url,
        "AWS_ENDPOINT_URL_SQS": others_url,
        "AWS_LAMBDA_FUNCTION_NAME": "DeletionFunction",
        "IDEMPOTENCY_TABLE": "steps",
        "NOTIFICATION_TOPIC_ARN": f"arn:aws:sns:us-east-1:{ACCOUNT}:failures",
        "MAX_CONCURRENT_CALLS": str(POOL),
        "MAX_IMAGES_PER_REQUEST": "100000",
        "MAX_PERCENT_OF_REPOSITORY": "50",
        "PROTECTED_TAGS": "",
        "PROTECTED_REPOSITORIES": "",
        "DRY_RUN": "false",
        "REPOSITORY_PATTERN": "*",
        "REQUEST_QUEUE_URL": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/requests",
        "FOREIGN_REGISTRY_IDS": "",
        "POWERTOOLS_SERVICE_NAME": "ecr-image-deletion",
        "POWERTOOLS_METRICS_NAMESPACE": "EcrImageDeletion",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }


def image_ids(count: int) -> list[dict[str, str]]:
    """Ids by tag, as a pipeline names its previews."""
    return [{"imageTag": f"preview-{number}"} for number in range(count)]


def request(repository: str, ids: Sequence[dict[str, str]]) -> dict[str, Any]:
    """One request, as it is sent by hand."""
    return {"repositoryName": repository, "imageIds": list(ids)}


def selection(repository: str, keep: int) -> dict[str, Any]:
    """A request for all images but the newest."""
    rule = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": keep}
    return {"repositoryName": repository, "selection": rule, "allowPercent": 100}


def sqs_event(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The requests as Lambda reads them off the queue: one batch."""
    return {"Records": [_record(json.dumps(body), f"{body['repositoryName']}-{i}") for i, body in enumerate(requests)]}


def _record(body: str, message_id: str) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "receiptHandle": "handle",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:{ACCOUNT}:requests",
        "awsRegion": "us-east-1",
    }


class Context:
    """Lambda's context of one invocation."""

    function_name = "DeletionFunction"
    memory_limit_in_mb = MEMORY_MB
    invoked_function_arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:DeletionFunction"

    def __init__(self) -> None:
        self.aws_request_id = os.urandom(16).hex()
        self._end = time.monotonic() + TIMEOUT_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)
