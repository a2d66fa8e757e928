"""What makes a side effect happen once: Powertools idempotency, on one table."""

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyItemAlreadyExistsError
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord

from .models import NotNowError

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

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient", config: IdempotencyConfig) -> None:
        super().__init__(table_name=table_name, boto3_client=dynamodb)
        # Powertools does this at the first step, and says that it is done before it is: another thread's first step
        # would go by half a configuration, and be stored under a key that nobody finds again.
        self.configure(config)

    def _put_record(self, data_record: DataRecord) -> None:
        """Begins a step that nobody has done or is doing, under Powertools' own condition.

        Unlike Powertools' put, it keeps the time of the first try, and gives an unfinished step to no other request.
        """
        now = time.time()
        try:
            answer = self.client.update_item(
                TableName=self.table_name,
                Key=self._get_key(data_record.idempotency_key),
                UpdateExpression="SET #status = :inprogress, #expiry = :expiry, #until = :until, "
                "#validation = :validation, #begun = if_not_exists(#begun, :now)",
                ConditionExpression="attribute_not_exists(#id) OR #expiry < :now OR "
                "(#status = :inprogress AND #until < :now_in_millis AND #validation = :validation)",
                ExpressionAttributeNames={
                    "#id": self.key_attr,
                    "#status": self.status_attr,
                    "#expiry": self.expiry_attr,
                    "#until": self.in_progress_expiry_attr,
                    "#validation": self.validation_key_attr,
                    "#begun": _BEGUN,
                },
                ExpressionAttributeValues={
                    ":inprogress": {"S": data_record.status},
                    ":expiry": {"N": str(data_record.expiry_timestamp)},
                    ":until": {"N": str(data_record.in_progress_expiry_timestamp)},
                    ":validation": {"S": data_record.payload_hash},
                    ":now": {"N": str(now)},
                    ":now_in_millis": {"N": str(int(now * 1000))},
                },
                ReturnValues="ALL_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as error:
            existing = self._item_to_data_record(error.response["Item"])  # type: ignore[typeddict-item]  # not in the stubs
            self._validate_payload(data_payload=data_record, stored_data_record=existing)
            raise IdempotencyItemAlreadyExistsError(old_data_record=existing) from error
        begun.set(self._first_try(answer.get("Attributes", {}), now))

    def _first_try(self, old: dict[str, Any], now: float) -> float | None:
        """When an unfinished step that is still remembered was first begun."""
        if old.get(self.status_attr) != {"S": "INPROGRESS"} or float(old[self.expiry_attr]["N"]) < now:
            return None
        first, last = float(old[_BEGUN]["N"]), float(old[self.expiry_attr]["N"]) - REMEMBERED_SECONDS
        # A time from before all that is remembered was left behind by an earlier request under the same key.
        return first if first > now - REMEMBERED_SECONDS else last

    def delete_record(self, data: Any, exception: Exception) -> None:
        _nothing_done.set(isinstance(exception, NotNowError) and begun.get() is None)
        super().delete_record(data, exception)

    def _delete_record(self, data_record: DataRecord) -> None:
        """Forgets a step that did nothing; any other may be tried again at once too, but is known to have begun."""
        if _nothing_done.get():
            super()._delete_record(data_record)
            return
        self.client.update_item(
            TableName=self.table_name,
            Key=self._get_key(data_record.idempotency_key),
            UpdateExpression="SET #until = :long_ago",
            ExpressionAttributeNames={"#until": self.in_progress_expiry_attr},
            ExpressionAttributeValues={":long_ago": {"N": "0"}},
        )
