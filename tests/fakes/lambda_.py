"""Values that Lambda passes to the function: contexts and SQS records."""

from local.runtime import FakeLambdaContext
from tests.environment import VARIABLES

type Json = dict[str, object]

QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:requests"
BULK_QUEUE_URL = VARIABLES["BULK_QUEUE_URL"]
BULK_QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:bulk"
"""Of the queue at BULK_QUEUE_URL."""


class ImpatientContext(FakeLambdaContext):
    """After it was asked for the time so often, none is left."""

    patience: int = 0

    def get_remaining_time_in_millis(self) -> int:
        self.patience -= 1
        return super().get_remaining_time_in_millis() if self.patience >= 0 else 100


def sqs_record(message_id: str, body: str, receives: int = 1, *, queue: str = QUEUE_ARN) -> Json:
    """A message as Lambda hands it over."""
    return {
        "messageId": message_id,
        "receiptHandle": f"handle of {message_id}, {receives}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(receives)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": queue,
        "awsRegion": "us-east-1",
    }
