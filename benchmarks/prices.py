"""What it costs: what an invocation uses, at AWS's published prices."""

from dataclasses import dataclass

from benchmarks.function import MEMORY_MB
from benchmarks.growth import Usage

PRICES_OF = "July 2025"
"""US East (N. Virginia), in US dollars, x86, without free tiers; each as AWS's pricing page of the service gives it."""

LAMBDA_REQUEST = 0.20 / 1e6
LAMBDA_GB_SECOND = 0.0000166667
SQS_REQUEST = 0.40 / 1e6
DYNAMODB_WRITE_UNIT = 0.625 / 1e6
SNS_PUBLISH = 0.50 / 1e6
LOG_BYTE = 0.50 / 1e9


@dataclass(frozen=True, slots=True)
class Bill:
    """Dollars for a million of something, by service."""

    what: str
    lambda_: float
    sqs: float
    dynamodb: float
    logs: float

    @property
    def total(self) -> float:
        return self.lambda_ + self.sqs + self.dynamodb + self.logs


def bill(what: str, usage: Usage, invocations: float) -> Bill:
    """So many of these invocations. ECR charges nothing for calls, SNS only for notices, of which there are none."""
    # Each message is sent by itself; a batch is received with one request and deleted with one.
    sqs_requests = usage.requests + 2
    return Bill(
        what,
        lambda_=invocations * (LAMBDA_REQUEST + usage.seconds * MEMORY_MB / 1024 * LAMBDA_GB_SECOND),
        sqs=invocations * sqs_requests * SQS_REQUEST,
        dynamodb=invocations * usage.write_units * DYNAMODB_WRITE_UNIT,
        logs=invocations * usage.log_bytes * LOG_BYTE,
    )
