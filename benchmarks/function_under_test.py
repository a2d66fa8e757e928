"""The functions as they are deployed, for whatever measures them: packages, environments, and events."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / ".aws-sam" / "build" / "DeletionFunction"
"""That of the function that takes named images; beside it is that of the one for selections, BulkFunction."""
MAX_CONCURRENT_CALLS = 13
"""Calls to ECR at a time, as the template sets it."""
MEMORY_MB = 1024
"""MemorySize in the template."""
TIMEOUT_SECONDS = 120
"""Timeout in the template."""
BULK_TIMEOUT_SECONDS = 900
"""That of BulkFunction, whose memory is the same."""
USAGE_MEMORY_MB = 512
"""MemorySize of the function that reads what is in use."""
USAGE_TIMEOUT_SECONDS = 900
"""Its Timeout."""
CHUNK_SIZE = 100
"""Image ids that ECR takes in one call."""
GUARDED = {"PROTECT_IN_USE": "ecs,lambda", "USAGE_TABLE": "usage"}
"""The variables of a function that keeps what is in use, where they are not those of `environment`."""
_ACCOUNT = "123456789012"
QUEUE_ARN, BULK_QUEUE_ARN = (f"arn:aws:sqs:us-east-1:{_ACCOUNT}:{name}" for name in ("requests", "bulk"))


def environment(ecr_url: str, others_url: str) -> dict[str, str]:
    """Returns the template's variables, the addresses of the fake services, and nobody's credentials.

    All parameters have their defaults but MaxImagesPerRequest and MaxPercentOfRepository, which must let the large
    requests in.
    """
    return {
        **_common(others_url),
        "AWS_ENDPOINT_URL_ECR": ecr_url,
        "AWS_ENDPOINT_URL_SNS": others_url,
        "AWS_ENDPOINT_URL_SQS": others_url,
        "AWS_LAMBDA_FUNCTION_NAME": "DeletionFunction",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "IDEMPOTENCY_TABLE": "steps",
        "NOTIFICATION_TOPIC_ARN": f"arn:aws:sns:us-east-1:{_ACCOUNT}:notifications",
        "MAX_CONCURRENT_CALLS": str(MAX_CONCURRENT_CALLS),
        "ALLOW_ARCHIVE": "false",
        "GRACE_PERIOD_DAYS": "0",
        "RESULT_EVENTS": "none",
        "RESULT_EVENT_BUS_NAME": "default",
        "CHAT_NOTICES": "false",
        "MAX_IMAGES_PER_REQUEST": "100000",
        "MAX_PERCENT_OF_REPOSITORY": "100",
        "ALLOW_PERCENT_IN_REQUESTS": "false",
        "PROTECTED_TAGS": "",
        "PROTECTED_REPOSITORIES": "",
        "DRY_RUN": "false",
        "REPOSITORY_PATTERN": "*",
        "BULK_QUEUE_URL": f"https://sqs.us-east-1.amazonaws.com/{_ACCOUNT}/bulk",
        "FOREIGN_REGISTRY_IDS": "",
        "PROTECT_IN_USE": "",
        "USAGE_TABLE": "",
    }


def usage_environment(workloads_url: str, others_url: str, *, clusters: int, table: str) -> dict[str, str]:
    """Returns the same of the function that reads what is in use, in an account with so many clusters."""
    return {
        **_common(others_url),
        "AWS_ENDPOINT_URL_ECS": f"{workloads_url}/{clusters}",
        "AWS_ENDPOINT_URL_LAMBDA": f"{workloads_url}/{clusters}",
        "AWS_LAMBDA_FUNCTION_NAME": "UsageFunction",
        "PROTECT_IN_USE": "ecs,lambda",
        "USAGE_TABLE": table,
        "USAGE_REFRESH_MINUTES": "60",
        "TASK_DEFINITION_REVISIONS": "3",
    }


def _common(others_url: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "ENDPOINT_URL": "",
        "AWS_ENDPOINT_URL_DYNAMODB": others_url,
        "USAGE_SOURCES": "",
        "IN_USE_DAYS": "7",
        "POWERTOOLS_SERVICE_NAME": "ecr-image-deletion",
        "POWERTOOLS_METRICS_NAMESPACE": "EcrImageDeletion",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }


def image_ids(count: int) -> list[dict[str, str]]:
    """Returns so many ids by tag, as a pipeline names its previews."""
    return [{"imageTag": f"preview-{number}"} for number in range(count)]


def request(repository: str, ids: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Returns a request for these images."""
    return {"repositoryName": repository, "imageIds": list(ids)}


def selection(repository: str, keep: int) -> dict[str, Any]:
    """Returns a request for all images but the newest."""
    rule = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": keep}
    return {"repositoryName": repository, "selection": rule}


def sqs_event(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the requests as a batch that Lambda reads off the queue, each at its first receive."""
    return {
        "Records": [
            sqs_record(f"{request['repositoryName']}-{number}", json.dumps(request))
            for number, request in enumerate(requests)
        ]
    }


def sqs_record(message_id: str, body: str, *, receives: int = 1, queue_arn: str = QUEUE_ARN) -> dict[str, Any]:
    """Returns a message as Lambda hands it over."""
    return {
        "messageId": message_id,
        "receiptHandle": "handle",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(receives)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": "us-east-1",
    }
