"""A step happens once, and a try that left no outcome is remembered: Powertools on moto's DynamoDB, in memory."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest
from aws_lambda_powertools.utilities.idempotency import idempotent_function
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyKeyError,
    IdempotencyValidationError,
)
from moto import mock_aws

from handler.models import Json, LostAnswerError, NotNowError
from handler.steps import StepStore, begun, step_config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FOURTEEN_DAYS = 14 * 24 * 60 * 60
LONG_AGO = float(int(time.time()) - 86_400)


class Table:
    """The table of steps, as its owner sees it."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client, self._name = client, name
        client.create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )

    @property
    def items(self) -> list[Json]:
        """All there is in it."""
        return list(self._client.scan(TableName=self._name)["Items"])

    @property
    def item(self) -> Json:
        """The only item."""
        (item,) = self.items
        return item

    def change(self, **numbers: float) -> None:
        """Sets attributes of the only item."""
        self._client.put_item(TableName=self._name, Item=self.item | {k: {"N": str(v)} for k, v in numbers.items()})


class Invocation:
    """The context of an invocation with half a minute left."""

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


class Deletion:
    """A step that ends as it is told, and remembers what it knew each time it ran."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.table = Table(client, table)
        self.ends: list[Exception] = []
        self.meeting = threading.Barrier(1)
        self.knew: list[float | None] = []
        """When an earlier try had begun, as each run saw it."""
        config = step_config()
        config.register_lambda_context(Invocation())  # type: ignore[arg-type]  # what Powertools uses of it
        self.run = idempotent_function(
            self._run,
            data_keyword_argument="step",
            persistence_store=StepStore(table, client, config),
            config=config,
            key_prefix="delete",
        )

    def __call__(self, key: str = "r-1/0/0", content: str = "hash") -> Any:
        return self.run(step={"key": key, "content": content})

    def _run(self, *, step: Json) -> Json:
        self.meeting.wait(5)
        self.knew.append(begun.get())
        if self.ends:
            raise self.ends.pop()
        return {"deleted": step["key"]}

    def fails(self, error: Exception) -> None:
        """One try that ends in an error."""
        self.ends.append(error)
        with pytest.raises(type(error)):
            self()


@pytest.fixture(scope="module")
def dynamodb() -> Iterator["DynamoDBClient"]:
    """A DynamoDB in memory."""
    with mock_aws():
        yield boto3.client("dynamodb", region_name="eu-central-1")


@pytest.fixture
def deletion(dynamodb: "DynamoDBClient") -> Deletion:
    """A step on an empty table."""
    return Deletion(dynamodb, f"steps-{uuid4()}")


def test_a_step_happens_once(deletion: Deletion) -> None:
    """Its outcome is replayed afterwards, and says so."""
    assert deletion() == {"deleted": "r-1/0/0"}
    assert deletion() == {"deleted": "r-1/0/0", "replayed": True}
    assert len(deletion.knew) == 1


def test_each_key_is_a_step_of_its_own(deletion: Deletion) -> None:
    """Other chunks, other requests."""
    assert [deletion("r-1/0/0"), deletion("r-1/0/1"), deletion("r-2/0/0")] == [
        {"deleted": "r-1/0/0"},
        {"deleted": "r-1/0/1"},
        {"deleted": "r-2/0/0"},
    ]


def test_a_step_is_remembered_for_fourteen_days_under_a_sha256(deletion: Deletion) -> None:
    """As long as dead letters are kept, so that one that is sent back finds what was done."""
    deletion()
    item = deletion.table.item
    function, _, hashed = item["id"]["S"].rpartition("#")
    assert (function, len(hashed)) == ("delete", 64)
    assert int(item["expiration"]["N"]) == pytest.approx(time.time() + FOURTEEN_DAYS, abs=5)
    assert item["status"] == {"S": "COMPLETED"}


def test_a_step_that_is_forgotten_happens_again(deletion: Deletion) -> None:
    """It was finished, so nothing is doubtful about it."""
    deletion()
    deletion.table.change(expiration=int(time.time()) - 1)
    assert deletion() == {"deleted": "r-1/0/0"}
    assert deletion.knew == [None, None]


def test_a_key_with_other_content_is_refused(deletion: Deletion) -> None:
    """It is another request's, and its outcome is not this one's."""
    deletion()
    with pytest.raises(IdempotencyValidationError):
        deletion(content="other")
    assert len(deletion.knew) == 1


def test_an_unfinished_step_belongs_to_its_request(deletion: Deletion) -> None:
    """Another request with its key cannot take it over, though it could be tried again."""
    deletion.fails(LostAnswerError())
    with pytest.raises(IdempotencyValidationError):
        deletion(content="other")
    assert deletion() == {"deleted": "r-1/0/0"}


def test_a_step_without_a_key_is_refused(deletion: Deletion) -> None:
    """It would run unprotected."""
    with pytest.raises(IdempotencyKeyError):
        deletion.run(step={"content": "hash"})
    assert deletion.knew == []


def test_a_step_whose_twin_is_at_work_is_left_to_it(deletion: Deletion) -> None:
    """A duplicate that arrives while the first still runs does nothing."""
    deletion.fails(LostAnswerError())
    deletion.table.change(in_progress_expiration=int(time.time() * 1000) + 10_000)
    with pytest.raises(IdempotencyAlreadyInProgressError):
        deletion()
    assert len(deletion.knew) == 1


def test_a_try_that_did_nothing_is_forgotten(deletion: Deletion) -> None:
    """ECR refused it or was not reached: the next try is a first one."""
    deletion.fails(NotNowError())
    assert deletion.table.items == []
    assert deletion() == {"deleted": "r-1/0/0"}
    assert deletion.knew == [None, None]


@pytest.mark.parametrize("error", [LostAnswerError(), RuntimeError("a defect")])
def test_a_try_that_may_have_had_its_effect_is_known_to_have_begun(deletion: Deletion, error: Exception) -> None:
    """The step may be tried again at once, and its next try knows when the first began."""
    start = time.time()
    deletion.fails(error)
    assert deletion() == {"deleted": "r-1/0/0"}
    assert deletion.knew == [None, pytest.approx(start, abs=5)]


def test_a_try_whose_process_died_is_known_to_have_begun(deletion: Deletion) -> None:
    """It left its item as it was; once its time is up, the step is tried again."""
    deletion.fails(LostAnswerError())
    deletion.table.change(begun=LONG_AGO, in_progress_expiration=int(time.time() * 1000) - 1)
    deletion()
    assert deletion.knew == [None, LONG_AGO]


def test_every_further_try_knows_when_the_first_began(deletion: Deletion) -> None:
    """Also after tries that did nothing: what was pushed since the first is not what was meant."""
    deletion.fails(LostAnswerError())
    deletion.table.change(begun=LONG_AGO)
    for error in (LostAnswerError(), NotNowError(), RuntimeError("a defect")):
        deletion.fails(error)
    assert deletion() == {"deleted": "r-1/0/0"}
    assert deletion.knew == [None] + [LONG_AGO] * 4
    assert deletion() == {"deleted": "r-1/0/0", "replayed": True}


def test_a_time_from_before_the_step_was_forgotten_is_none_of_this_one(deletion: Deletion) -> None:
    """Under a key used again after fourteen days, a try knows its own first try, not that of the request before."""
    deletion()
    deletion.table.change(begun=LONG_AGO - 30 * 86_400, expiration=int(LONG_AGO))
    deletion.fails(LostAnswerError())
    deletion()
    assert deletion.knew == [None, None, pytest.approx(time.time(), abs=5)]


def test_what_a_step_knows_is_its_own(deletion: Deletion) -> None:
    """Another step, run by the same thread, is a first try."""
    deletion.fails(LostAnswerError())
    deletion()
    deletion("r-1/0/1")
    assert [since is None for since in deletion.knew] == [True, False, True]


def test_a_first_try_after_another_step_that_had_begun_is_forgotten_too(deletion: Deletion) -> None:
    """It did nothing itself, and what the thread ran before is not its history."""
    deletion.fails(LostAnswerError())
    deletion()
    deletion.ends.append(NotNowError())
    with pytest.raises(NotNowError):
        deletion("r-1/0/1")
    assert len(deletion.table.items) == 1


def test_steps_side_by_side_know_each_their_own(deletion: Deletion) -> None:
    """In threads of one pool: only the one that was tried before knows of it."""
    deletion.fails(LostAnswerError())
    deletion.knew.clear()
    deletion.meeting = threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(deletion, ["r-1/0/0", "r-1/0/1"]))
    assert sorted(since is None for since in deletion.knew) == [False, True]
