"""What makes a side effect happen once: Powertools idempotency, on one table."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord

from .models import Json, NotNowError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REMEMBERED_SECONDS = 14 * 24 * 60 * 60
"""Steps are kept as long as dead letters, so that one sent back finds what was done."""

begun: ContextVar[float | None] = ContextVar("begun", default=None)
"""Inside a step: when the first try of it began, in seconds since the epoch, if that left no outcome behind."""

_BEGUN = "begun"
_nothing_done: ContextVar[bool] = ContextVar("nothing_done", default=False)


def _mark_replayed(response: Any, idempotent_data: DataRecord) -> Any:  # noqa: ARG001  # Powertools names it
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


class StepStore(DynamoDBPersistenceLayer):
    """Powertools' table of steps, which also remembers when a step was begun that did not end.

    Powertools forgets a step that raised, and writes over one whose process died. Either may have had its effect, and
    the next try must know: to leave alone what has come into place since, and to tell the truth about what it misses.
    """

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        super().__init__(table_name=table_name, boto3_client=dynamodb)
        # Powertools drops the answer of its PutItem; the hook reads it, in the thread that goes on to run the step.
        self.return_value_on_condition["ReturnValues"] = "ALL_OLD"
        dynamodb.meta.events.register("after-call.dynamodb.PutItem", _note_begun)

    def _put_record(self, data_record: DataRecord) -> None:
        super()._put_record(data_record)
        if (since := begun.get()) is not None:
            self._set(data_record, _BEGUN, since)  # the put wrote over it, and a third try must know it too

    def delete_record(self, data: Any, exception: Exception) -> None:
        _nothing_done.set(isinstance(exception, NotNowError) and begun.get() is None)
        super().delete_record(data, exception)

    def _delete_record(self, data_record: DataRecord) -> None:
        """Forgets a step that did nothing; any other may be tried again at once too, but is known to have begun."""
        if _nothing_done.get():
            super()._delete_record(data_record)
        else:
            self._set(data_record, self.in_progress_expiry_attr, 0)

    def _set(self, data_record: DataRecord, attribute: str, value: float) -> None:
        self.client.update_item(
            TableName=self.table_name,
            Key=self._get_key(data_record.idempotency_key),
            UpdateExpression="SET #attribute = :value",
            ExpressionAttributeNames={"#attribute": attribute},
            ExpressionAttributeValues={":value": {"N": str(value)}},
        )


def _note_begun(parsed: Json, **_: object) -> None:
    old = parsed.get("Attributes", {})
    if old.get("status") != {"S": "INPROGRESS"}:
        begun.set(None)
    elif _BEGUN in old:
        begun.set(float(old[_BEGUN]["N"]))
    else:
        begun.set(float(old["expiration"]["N"]) - REMEMBERED_SECONDS)
