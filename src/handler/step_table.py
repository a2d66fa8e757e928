"""Steps in DynamoDB: a persistence layer for Powertools' idempotency in which every write has a condition.

Powertools' own updates and deletes by key alone: a write whose answer was lost, and which botocore repeats, would touch
what somebody else has stored meanwhile, and a step that raised would be forgotten, although it may have had its effect.

An item belongs to a claim (partition key `id`) and is one of its steps (sort key `step`). It has the `state` "begun",
"done" or "withdrawn" (a claim that was rejected before it did anything); its `content`, the hash of a request or the
generation of the claim that a step belongs to; its `owner`, an arrival in an invocation, which is over by `until` (in
milliseconds since the epoch); when the first try `begun` that left no outcome; the outcome as `data`; an `expiration`
(both in seconds since the epoch). A claim also has `dry`, and its `generation`, which an expired one does not share.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast
from uuid import uuid4

from aws_lambda_powertools.utilities.idempotency import BasePersistenceLayer, IdempotencyConfig
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyValidationError,
)
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import STATUS_CONSTANTS, DataRecord
from botocore.exceptions import BotoCoreError, ClientError

from .models.errors import RejectedRequestError, ServiceUnavailableError, StepLostError, UnfinishedRequestError
from .models.images import Json
from .models.request import Key, key_hash

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_dynamodb import DynamoDBClient

type Item = dict[str, Any]

_DAY = 24 * 60 * 60
CLAIM_SECONDS = 30 * _DAY
"""Counted from the last time that it was met: a redrive gives a dead letter another 14 days, and then again."""
STEP_SECONDS = CLAIM_SECONDS + 2 * _DAY
"""Steps outlive their claim, so that a claim that is known never lacks one."""

_BEGIN = (
    "SET #state = :begun, #content = :content, #generation = :generation, #dry = :dry, #owner = :owner, "
    "#until = :until, #begun = :now, #expiration = :expiration REMOVE #data"
)
_NEW_CLAIM = "attribute_not_exists(#id) OR #expiration < :now OR #state = :withdrawn"
_NEW_STEP = "attribute_not_exists(#id) OR #expiration < :now OR #content <> :content"
_TAKE_OVER = "SET #owner = :owner, #until = :until, #expiration = :expiration, #begun = if_not_exists(#begun, :now)"
_AS_MET = "#state = :begun AND #owner = :met_owner AND #until = :met_until"
_FINISH = "SET #state = :done, #data = :data, #expiration = :expiration"
_GIVE_UP = "SET #state = :state, #until = :over"
_FORGET_BEGUN = " REMOVE #begun"
_REMEMBER = "SET #expiration = :expiration"


class StepTable(NamedTuple):
    """The table, as one arrival in one invocation uses it."""

    dynamodb: "DynamoDBClient"
    name: str
    config: IdempotencyConfig
    owner: str

    @classmethod
    def of(cls, dynamodb: "DynamoDBClient", name: str, context: "LambdaContext") -> Self:
        """Returns the table for a new arrival: what it begins can be taken over once the invocation is over."""
        return cls(dynamodb, name, IdempotencyConfig(lambda_context=context), uuid4().hex)

    def ends_at(self) -> int:
        """Returns when the invocation is over, in milliseconds since the epoch."""
        context = self.config.lambda_context
        return int(time.time() * 1000) + (context.get_remaining_time_in_millis() if context else 0)

    def stored_steps(self, key: Key, generation: str) -> dict[str, Json]:
        """Returns the outcomes of a claim's steps by name; all of its steps are remembered for the whole time again."""
        steps = [item for item in self.items(key) if item["content"]["S"] == generation]
        for item in steps:
            self.remember(item, STEP_SECONDS)
        return {item["step"]["S"]: json.loads(item["data"]["S"]) for item in steps if item["state"]["S"] == "done"}

    def items(self, key: Key) -> Iterator[Item]:
        """Returns the items under a key, in the order of their names."""
        query = self.dynamodb.get_paginator("query").paginate(
            TableName=self.name,
            KeyConditionExpression="#id = :id",
            ExpressionAttributeNames={"#id": "id"},
            ExpressionAttributeValues={":id": {"S": partition_key(key)}},
            ConsistentRead=True,
        )
        return (item for page in query for item in page["Items"])

    def item(self, key: Key, step: str) -> Item | None:
        """Returns an item as it is, if it has not expired. Raises ServiceUnavailableError."""
        # An answer that was cut short would look like that about an item which is not there, but for its capacity.
        answer = self.dynamodb.get_item(
            TableName=self.name,
            Key=item_key(key, step),
            ConsistentRead=True,
            ReturnConsumedCapacity="TOTAL",
        )
        if "ConsumedCapacity" not in answer:
            raise ServiceUnavailableError("DynamoDB's answer did not arrive whole")
        item = answer.get("Item")
        return item if item and float(item["expiration"]["N"]) >= time.time() else None

    def remember(self, item: Item, seconds: int) -> None:
        """Keeps an item for so long from now, unless that makes no more than a day's difference."""
        expiration = int(time.time()) + seconds
        if float(item["expiration"]["N"]) < expiration - _DAY:
            key = {"id": item["id"], "step": item["step"]}
            self.update(key, _REMEMBER, "#expiration < :expiration", {":expiration": number(expiration)})

    def update(self, key: Item, update: str, condition: str, values: Mapping[str, Any]) -> Item | None:
        """Writes under a condition. Returns None, or the item as it is where the condition does not hold."""
        options: Any = {"ExpressionAttributeValues": values} if values else {}
        if condition:
            options |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        try:
            self.dynamodb.update_item(
                TableName=self.name,
                Key=key,
                UpdateExpression=update,
                ExpressionAttributeNames=_names(f"{update} {condition}"),
                **options,
            )
        except self.dynamodb.exceptions.ConditionalCheckFailedException as error:
            return cast("dict[str, Item]", error.response).get("Item", {})
        return None


class StepRecord(BasePersistenceLayer):
    """The item of one step, which Powertools' IdempotencyHandler begins, finishes and gives up."""

    dry = False
    """Of a claim: it was admitted as a dry run."""

    def __init__(self, table: StepTable, key: Key, step: str, content: str, *, claim: bool = False) -> None:
        super().__init__()
        self.step = step
        self.generation = table.owner
        self.done = False
        """An earlier try has stored its outcome."""
        self.data = ""
        """That outcome, as JSON."""
        self.met_unfinished = False
        """An earlier try has left no outcome."""
        self.first_attempt_at: float | None = None
        """When the first of these began, if it may have had an effect."""
        self._table, self._claim_key = table, key
        self._key = item_key(key, step)
        self._content = content
        self._claim = claim
        self._seconds = CLAIM_SECONDS if claim else STEP_SECONDS

    def stored(self) -> Item | None:
        """Returns the item as it is, if it has not expired. Raises ServiceUnavailableError."""
        return self._table.item(self._claim_key, self.step)

    def begin(self) -> None:
        """Begins the step, or takes over what an invocation has left that is over.

        Raises what Powertools expects where it is done, or in progress elsewhere, or belongs to other content.
        """
        now = time.time()
        begin = {
            ":begun": {"S": "begun"},
            ":content": {"S": self._content},
            ":generation": {"S": self.generation},
            ":dry": {"BOOL": self.dry},
            ":owner": {"S": self._table.owner},
            ":until": number(self._table.ends_at()),
            ":now": number(now),
            ":expiration": number(int(now) + self._seconds),
        }
        if self._claim:
            begin[":withdrawn"] = {"S": "withdrawn"}
        met = self._table.update(self._key, _BEGIN, _NEW_CLAIM if self._claim else _NEW_STEP, begin)
        if met is None:
            return
        self._meet(met, now)
        if not self.met_unfinished:
            return
        take_over = {name: begin[name] for name in (":begun", ":owner", ":until", ":now", ":expiration")}
        take_over |= {":met_owner": met["owner"], ":met_until": met["until"]}
        refused = self._table.update(self._key, _TAKE_OVER, _AS_MET, take_over)
        if refused is not None and refused.get("owner") != begin[":owner"]:
            raise self._existing("INPROGRESS")

    def _meet(self, item: Item, now: float) -> None:
        """Learns from an item that is there; raises what Powertools expects, unless it can be taken over."""
        self.generation, self.dry = item["generation"]["S"], item["dry"]["BOOL"]
        if item["content"]["S"] != self._content:
            raise IdempotencyValidationError("the key belongs to a request that asked for something else")
        if item["state"]["S"] == "done":
            self.done, self.data = True, item["data"]["S"]
            self._table.remember(item, self._seconds)
            raise self._existing("COMPLETED")
        own = item["owner"]["S"] == self._table.owner  # botocore has begun it twice, for the first answer was lost
        if not own and float(item["until"]["N"]) >= now * 1000:
            raise self._existing("INPROGRESS")
        self.met_unfinished = not own
        self.first_attempt_at = float(item["begun"]["N"]) if "begun" in item and not own else None

    def _existing(self, status: str) -> IdempotencyItemAlreadyExistsError:
        """Returns the error by which Powertools knows a step that is done, or in progress elsewhere."""
        record = DataRecord(self.step, STATUS_CONSTANTS[status], response_data=self.data)
        return IdempotencyItemAlreadyExistsError(old_data_record=record)

    def finish(self, data: str) -> None:
        """Stores the outcome; raises StepLostError where another invocation has taken the step over."""
        values = {
            ":done": {"S": "done"},
            ":data": {"S": data},
            ":owner": {"S": self._table.owner},
            ":expiration": number(int(time.time()) + self._seconds),
        }
        if self._table.update(self._key, _FINISH, "#owner = :owner", values) is not None:
            raise StepLostError(f"another invocation has taken over {self.step}, and stores its outcome")

    def give_up(self, error: Exception) -> None:
        """Gives the step up after its work raised: it may be tried again at once, and is known to have begun.

        Not where the work has done nothing, and no earlier try may have. A claim that is rejected is withdrawn.
        """
        nothing_done = isinstance(error, UnfinishedRequestError) and error.nothing_done
        forget = nothing_done and self.first_attempt_at is None
        withdrawn = self._claim and isinstance(error, RejectedRequestError)
        values = {
            ":state": {"S": "withdrawn" if withdrawn else "begun"},
            ":over": number(0),
            ":owner": {"S": self._table.owner},
            ":begun": {"S": "begun"},
        }
        # Where the condition does not hold, somebody else is at it by now.
        update = _GIVE_UP + _FORGET_BEGUN if forget else _GIVE_UP
        self._table.update(self._key, update, "#owner = :owner AND #state = :begun", values)

    def _put_record(self, data_record: DataRecord) -> None:
        del data_record  # with a time of its own for when the invocation is over
        self.begin()

    def _update_record(self, data_record: DataRecord) -> None:
        self.finish(data_record.response_data)

    def delete_record(self, data: Any, exception: Exception) -> None:
        del data  # whose key Powertools would delete by
        self.give_up(exception)

    def _get_record(self, idempotency_key: str) -> DataRecord:
        """Never asked: beginning a step returns what is there."""
        raise IdempotencyItemNotFoundError(idempotency_key)

    def _delete_record(self, data_record: DataRecord) -> None:
        """Never asked: nothing is ever deleted."""


def partition_key(key: Key) -> str:
    """Returns what a claim's items are stored under."""
    return key_hash(key)


def item_key(key: Key, step: str) -> Item:
    """Returns the primary key of a claim's item for a step."""
    return {"id": {"S": partition_key(key)}, "step": {"S": step}}


@contextmanager
def or_unavailable(problem: str) -> Iterator[None]:
    """Raises ServiceUnavailableError where DynamoDB refuses a call, so that it is not taken for an answer of ECR's."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise ServiceUnavailableError(problem) from error


@cache
def _names(expression: str) -> dict[str, str]:
    """Returns the attributes of an expression, each after a `#`: many of their names are reserved words."""
    return {name: name[1:] for name in re.findall(r"#\w+", expression)}


def number(value: float) -> dict[str, str]:
    """Returns a number as DynamoDB has it."""
    return {"N": str(value)}
