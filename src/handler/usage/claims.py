"""Who reads a source: one reading at a time, over its turns, whatever is delivered twice or late.

A reading has an id, which each turn replaces by its own, its Lambda request id. So a further turn that is delivered
twice finds another id the second time; one that Lambda retries finds its own, once its first try is over.
"""

import time
from typing import TYPE_CHECKING, NamedTuple

from .inventory import SOURCES, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb import DynamoDBClient

_NAMES = {"#reading": "reading", "#until": "readingUntil"}


class Claims(NamedTuple):
    """The claims on the sources, beside what the inventory has of each."""

    dynamodb: "DynamoDBClient"
    table: str

    def take(self, source: str, turn_id: str, *, handed_on: str | None, until: float) -> bool:
        """Returns whether this turn may read a source until then: as the first turn, or as one that was handed on."""
        free = "attribute_not_exists(#until) OR #until < :now"
        values = {":turn": {"S": turn_id}, ":now": number(time.time()), ":until": number(until)}
        if handed_on is not None:
            free = "#reading = :handed OR (#reading = :turn AND #until < :now)"
            values |= {":handed": {"S": handed_on}}
        # botocore asks again where an answer is lost, and is refused what it has got.
        own = "(#reading = :turn AND #until = :until)"
        return self._set(source, "SET #reading = :turn, #until = :until", f"{free} OR {own}", values)

    def hand_on(self, source: str, turn_id: str, *, until: float) -> bool:
        """Keeps a source for the turn that follows; returns False where another reading has it by now."""
        values = {":turn": {"S": turn_id}, ":until": number(until)}
        return self._set(source, "SET #until = :until", "#reading = :turn", values)

    def release(self, source: str, turn_id: str) -> None:
        """Lets others read a source, and a retry of this turn, unless another reading has it by now."""
        self.hand_on(source, turn_id, until=0.0)

    def _set(self, source: str, update: str, condition: str, values: "Mapping[str, dict[str, str]]") -> bool:
        try:
            self.dynamodb.update_item(
                TableName=self.table,
                Key={"id": SOURCES, "item": {"S": source}},
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues=values,
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True
