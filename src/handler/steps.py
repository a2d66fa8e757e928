"""What makes a side effect happen once: Powertools idempotency, on one table."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord

from .models import Json

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REMEMBERED_SECONDS = 14 * 24 * 60 * 60
"""Steps are kept as long as dead letters, so that one sent back finds what was done."""

begun_before: ContextVar[bool] = ContextVar("begun_before", default=False)
"""Inside a step: an earlier try of it began and left no outcome, so it may have had its effect."""


def _mark_replayed(response: Any, idempotent_data: DataRecord) -> Any:
    return {**response, "replayed": True}


def step_config() -> IdempotencyConfig:
    """A step is named by its `key`; the same key with another `content` is another request's, and refused."""
    return IdempotencyConfig(
        event_key_jmespath="key",
        payload_validation_jmespath="content",
        raise_on_no_idempotency_key=True,
        expires_after_seconds=REMEMBERED_SECONDS,
        hash_function="sha256",
        response_hook=_mark_replayed,
    )


def _note_begun_before(parsed: Json, **_: object) -> None:
    begun_before.set(parsed.get("Attributes", {}).get("status") == {"S": "INPROGRESS"})


class StepStore(DynamoDBPersistenceLayer):
    """Powertools' table of steps, which also remembers that a step was begun and did not end well.

    Powertools forgets a step that raised, and writes over one whose process died. Either may have deleted images before
    its answer was lost, and the next try must know that to tell the truth about an image it does not find.
    """

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        super().__init__(table_name=table_name, boto3_client=dynamodb)
        self.return_value_on_condition["ReturnValues"] = "ALL_OLD"
        # Powertools drops the answer of its PutItem; the hook runs in the thread that goes on to run the step.
        dynamodb.meta.events.register("after-call.dynamodb.PutItem", _note_begun_before)

    def _delete_record(self, data_record: DataRecord) -> None:
        """Lets the step be tried again at once, as deleting it would, but keeps it as begun."""
        self.client.update_item(
            TableName=self.table_name,
            Key=self._get_key(data_record.idempotency_key),
            UpdateExpression="SET #expiry = :now",
            ExpressionAttributeNames={"#expiry": self.in_progress_expiry_attr},
            ExpressionAttributeValues={":now": {"N": "0"}},
        )
