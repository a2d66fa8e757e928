"""The step store: every write has a condition, so that a step happens once, whatever else runs and whatever is lost."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any, Literal, NamedTuple
from unittest import mock

import pytest
from aws_lambda_powertools.utilities.idempotency.exceptions import BaseError
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from hypothesis import given
from hypothesis import strategies as st

from handler.models.errors import HandlerError, RejectedRequestError, ServiceUnavailableError, UnknownOutcomeError
from handler.models.outcomes import Published
from handler.models.request import DeletionRequest, Key, Origin
from handler.step_table import CLAIM_SECONDS, STEP_SECONDS, StepTable, partition_key
from handler.steps import Attempt, StepRunner
from local.runtime import FakeLambdaContext
from tests.fakes.aws import FakeAWS
from tests.fakes.clients import Clients
from tests.fakes.ecr import DAY
from tests.fakes.scripted import URL, ScriptedAWS, lost
from tests.fakes.steps import KilledError

TABLE = "steps"
KEY: Key = ("request", "r-1")


def request(content: str) -> DeletionRequest:
    """A request whose content has this hash."""
    return DeletionRequest(KEY, "r-1", "team/app", (), Origin("message", "m-1", "queue"), content)


def steps(clients: Clients, context: Any = None) -> StepRunner:
    """The steps of the request, as a new arrival meets them."""
    context = context or FakeLambdaContext()
    return StepRunner(StepTable.of(clients.dynamodb_client, TABLE, context), KEY)


def item(aws: FakeAWS, step: str) -> dict[str, Any]:
    """An item of the table, by its step."""
    [found] = [found for found in aws.dynamodb.items(TABLE) if found["step"]["S"] == step]
    return {name: next(iter(value.values())) for name, value in found.items()}


def days_remembered(aws: FakeAWS) -> dict[str, float]:
    """How long each step is remembered from now."""
    found = {stored["step"]["S"]: float(stored["expiration"]["N"]) for stored in aws.dynamodb.items(TABLE)}
    return {step: round((expiration - time.time()) / DAY, 1) for step, expiration in found.items()}


def walk(
    runner: StepRunner, *names: str, content: str = "hash", refusal: str | None = None, then: Exception | None = None
) -> None:
    """Does these steps under the claim, and may stop with an error."""
    with runner.claim(request(content), refusal):
        for name in names:
            runner.run(name, Published, lambda _: Published("1"))
        if then:
            raise then


# Keys.


TEXT = st.text(st.sampled_from('aX/#"\\,[] é'), max_size=4)
KEYS = st.tuples(TEXT, TEXT) | st.tuples(st.just("child"), st.tuples(TEXT, TEXT), TEXT)


@given(KEYS, KEYS)
def test_different_keys_are_stored_apart(one: Key, other: Key) -> None:
    """No key is written like another, whatever is in it; one that was read from JSON, with lists, is the same."""
    assert (partition_key(one) == partition_key(other)) is (one == other)
    assert partition_key(json.loads(json.dumps(one))) == partition_key(one)


# What is remembered, and for how long.


@pytest.mark.parametrize("finished", [True, False])
def test_claims_are_remembered_30_days_and_steps_32(
    clients: Clients,
    aws: ScriptedAWS,
    finished: bool,  # noqa: FBT001
) -> None:
    """From the last time they are met, finished or not: a dead letter that is sent back has another 14 days each time.

    All steps of a claim that is met are remembered anew, so that a claim that is known never lacks one.
    """
    names = [f"step/{n}" for n in range(5)]
    with suppress(UnknownOutcomeError):
        walk(steps(clients), *names, then=None if finished else UnknownOutcomeError())
    for _ in range(5):
        assert days_remembered(aws) == {"claim": 30} | dict.fromkeys(names, 32)
        aws.let_time_pass(14 * DAY)
        walk(steps(clients), *names)
    assert aws.calls["Query"] == 5 * 2  # a page holds three
    assert (CLAIM_SECONDS, STEP_SECONDS) == (30 * DAY, 32 * DAY)


def test_what_was_met_a_moment_ago_is_not_written_again(clients: Clients, aws: ScriptedAWS) -> None:
    """It makes no more than a day's difference."""
    walk(steps(clients), "one", "two")
    before = deepcopy(aws.dynamodb.items(TABLE))
    aws.calls.clear()
    walk(steps(clients), "one", "two")
    assert aws.dynamodb.items(TABLE) == before
    assert aws.calls == {"dynamodb": 2, "UpdateItem": 1, "Query": 1}


@pytest.mark.parametrize("days", [30.1, 33])
def test_what_has_expired_begins_anew(clients: Clients, aws: ScriptedAWS, days: float) -> None:
    """Also while DynamoDB still has its items: any content is admitted, and no step of before is replayed."""
    walk(steps(clients), "one", "two")
    walk(steps(clients), refusal="too many")
    aws.let_time_pass(days * DAY)
    with pytest.raises(RejectedRequestError, match=r"^too many$"):
        walk(steps(clients), refusal="too many")
    known: list[float | None] = []

    def work(attempt: Attempt) -> Published:
        known.append(attempt.first_attempt_at)
        return Published("2")

    for _ in range(2):
        with (runner := steps(clients)).claim(request("other"), None):
            assert [runner.run(name, Published, work).outcome for name in ("one", "two")] == [Published("2")] * 2
    assert known == [None, None]


# Writes whose responses are lost.


def test_a_repeated_give_up_leaves_what_another_has_stored(
    clients: Clients, aws: ScriptedAWS, sleeps: list[float]
) -> None:
    """The response is lost, a duplicate does the step meanwhile, and botocore repeats the write: nothing is undone."""
    aws.plays["UpdateItem"] = [lambda do: do(), lost(lambda: walk(steps(clients)))]
    with pytest.raises(ServiceUnavailableError):
        walk(steps(clients), then=ServiceUnavailableError())
    assert (item(aws, "claim")["state"], len(sleeps)) == ("done", 1)
    with (again := steps(clients)).claim(request("hash"), None):
        assert again.replaying


def test_every_write_has_a_condition_and_nothing_is_deleted(clients: Clients, aws: ScriptedAWS) -> None:
    """By key alone, a write that botocore repeats would touch what somebody else has stored meanwhile."""
    for error in (ServiceUnavailableError(), UnknownOutcomeError(), RejectedRequestError(), None):
        with suppress(HandlerError):
            walk(steps(clients), "one", then=error)
    assert set(aws.operations) == {"UpdateItem", "Query"}
    assert all("ConditionExpression" in call for call in aws.asked("UpdateItem"))


# Any interleaving of arrivals.

type Event = float | Arrival
"""So many seconds pass, or the request arrives once more."""
type End = Literal["done", "nothing done", "unknown", "defect", "killed", "rejected"]

PLANS: dict[str, Sequence[tuple[str, bool]]] = {
    "one": [("first", True)],
    "two": [("first", True), ("second", False)],
    "many": [("first", False), ("second", False)],
}
"""The steps of a request, by the hash of its content, and whether each is the first and maybe the only one."""
INVOCATION = 900.0
ERRORS = {
    "nothing done": ServiceUnavailableError("nothing done"),
    "unknown": UnknownOutcomeError("unknown"),
    "defect": ZeroDivisionError("a defect"),
    "rejected": RejectedRequestError("rejected"),
}


class Step(NamedTuple):
    """One try of a step: what happens while it is at work, and how that ends."""

    during: tuple[Event, ...]
    end: End


class Write(NamedTuple):
    """The fate of a write."""

    before: tuple[Event, ...] = ()
    """Events before it is applied."""
    lost: tuple[Event, ...] | None = None
    """Events until botocore repeats it, for its response is lost; None if that arrives."""


class Arrival(NamedTuple):
    """One arrival of a request, in an invocation of its own."""

    content: str
    writes: tuple[Write, ...]
    """The fate of each, as far as it is not an ordinary one."""
    steps: tuple[Step, Step]


def arrivals(*, nested: bool = False) -> st.SearchStrategy[Arrival]:
    """Arrivals of one request, and some of another under its key; while one is at work, the next may come."""
    content = st.shared(st.sampled_from(list(PLANS)), key="content")
    ends: list[End] = ["done", "done", "done", "nothing done", "unknown", "defect", "killed"]
    pause = st.sampled_from([(100.0,), (1_000.0,)])
    happens = (
        pause if nested else pause | st.builds(lambda pause, arrival: (*pause, arrival), pause, arrivals(nested=True))
    )
    nothing: st.SearchStrategy[tuple[Event, ...]] = st.just(())
    tries = st.builds(Step, nothing | happens, st.sampled_from(ends if nested else [*ends, "rejected"]))
    writes = st.just(Write()) | st.builds(Write, nothing | happens, st.none() | nothing | happens)
    return st.builds(
        Arrival,
        content | content | st.sampled_from(list(PLANS)),
        st.lists(writes, max_size=6).map(tuple),
        st.tuples(tries, tries),
    )


EVENTS = st.lists(st.sampled_from([100.0, 1_000.0, 9 * DAY, 31 * DAY]) | arrivals(), min_size=1, max_size=5)


class World(FakeAWS):
    """The table, and all that happens to it: each write is checked as it is applied, and each step as it runs."""

    def __init__(self, clients: Clients) -> None:
        super().__init__()
        self.violations: list[str] = []
        """Collected, for what is raised while botocore is at work it takes for a broken connection."""
        self.runs = 0
        self._clients = clients
        self.elapsed = 0.0
        self._under_way: list[tuple[str, Iterator[Write]]] = []
        """The owner and the writes of each arrival, the innermost last."""
        self._settled: dict[tuple[str, str], str] = {}
        """The outcome of each step that was reported as stored, by generation and step."""
        self._effects: dict[tuple[str, str], float] = {}
        """When the first try began that may have had an effect."""
        self._began: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """The owners that began an item or took it over, since it last forgot that somebody had."""

    def check(self, holds: object, violation: str) -> None:
        if not holds:
            self.violations.append(violation)

    def items(self) -> dict[str, dict[str, Any]]:
        return {stored["step"]["S"]: item(self, stored["step"]["S"]) for stored in self.dynamodb.items(TABLE)}

    def answer(self, service: str, operation: str, body: Any, url: str) -> AWSResponse:
        owner, writes = self._under_way[-1]
        write = next(writes, Write()) if operation == "UpdateItem" else Write()
        self.play(write.before)
        before = self.items()
        response = super().answer(service, operation, body, url)
        for step, new in self.items().items():
            if new != (old := before.get(step, {})):
                self._check_write(owner, step, old, new)
        if write.lost is not None:
            self.play(write.lost)
            raise ConnectionClosedError(endpoint_url=URL)
        return response

    def _check_write(self, owner: str, step: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        if new["owner"] != old.get("owner"):
            self._began[new["generation" if step == "claim" else "content"], step].add(new["owner"])
        if not old or float(old["expiration"]) < time.time() or old["state"] == "withdrawn":
            return
        same = old["content"] == new["content"]
        remembered = old | {"expiration": 0} == new | {"expiration": 0}
        self.check(remembered or new["owner"] == owner, "somebody else's step was written")
        self.check(same or step != "claim", "a claim was given to other content")
        self.check(same or old["content"] != item(self, "claim")["generation"], "a step of this claim was begun anew")
        if same and old["state"] == "done":
            self.check(remembered, "an outcome was overwritten")
        elif same and old["owner"] != new["owner"]:
            self.check(float(old["until"]) < time.time() * 1000, "a step was taken from one who was at work on it")

    def play(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, float):
                self.elapsed += event
            else:
                self.arrive(event)

    def arrive(self, arrival: Arrival) -> dict[str, str] | None:
        """Returns the outcomes of the steps, where the arrival comes to its end."""
        runner = steps(self._clients, Invocation(self, self.elapsed + INVOCATION))
        outcomes: dict[str, str] = {}
        self._under_way.append((runner._table.owner, iter(arrival.writes)))
        try:
            with runner.claim(request(arrival.content), None):
                for (name, alone), step in zip(PLANS[arrival.content], arrival.steps, strict=False):
                    outcomes[name] = self._run(runner, name, step, outcomes, alone=alone)
            self._settle(runner, outcomes)
        except RejectedRequestError as error:
            if error is not ERRORS["rejected"]:
                claim = item(self, "claim")
                self.check(claim["state"] != "withdrawn" and claim["content"] != arrival.content, "rejected in vain")
        except (HandlerError, BaseError, ConnectionClosedError, ZeroDivisionError, KilledError):
            pass
        else:
            return outcomes
        finally:
            self._under_way.pop()
        return None

    def _run(self, runner: StepRunner, name: str, step: Step, earlier: dict[str, str], *, alone: bool) -> str:
        this = (runner.generation, name)
        stored_as = (runner.generation, "claim" if alone else name)

        def work(attempt: Attempt) -> Published:
            self._settle(runner, earlier)
            self.check(this not in self._settled, f"{name} was done again")
            first = attempt.first_attempt_at
            if (began := self._effects.get(this)) is not None:
                forgotten = first is None or time.time() - first < self.elapsed - began - 5
                self.check(not forgotten, f"{name} does not know that it was begun")
            elif len(self._began[stored_as]) == 1:
                self.check(first is None, f"{name} was never begun")
            before = began is not None or any(generation == this[0] for generation, _ in self._settled)
            self._effects.setdefault(this, self.elapsed)
            self.play(step.during)
            if step.end == "done":
                self.runs += 1
                return Published(str(self.runs))
            if step.end == "killed":
                raise KilledError
            # Nothing is rejected after something was done.
            error = ERRORS["nothing done" if before and step.end == "rejected" else step.end]
            if error is ERRORS["nothing done"] and first is None and len(self._began[stored_as]) == 1:
                del self._effects[this]
                self._began[stored_as].clear()
            raise error

        done = runner.run(name, Published, work, store_in_claim=alone)
        if done.replayed or not alone:
            self._settle(runner, {name: done.outcome.message_id})
        return done.outcome.message_id

    def _settle(self, runner: StepRunner, outcomes: dict[str, str]) -> None:
        for name, outcome in outcomes.items():
            known = self._settled.setdefault((runner.generation, name), outcome)
            self.check(known == outcome, f"{name} has two outcomes")


class Invocation(NamedTuple):
    """The context of an invocation."""

    world: World
    end: float

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * max(0.0, self.end - self.world.elapsed))


@given(EVENTS)
def test_a_step_happens_once_whoever_is_at_it_and_whatever_is_lost(clients: Clients, events: list[Event]) -> None:
    """Its work is done at most once for each outcome that is stored, and that is never overwritten.

    A try that may have had its effect is known to the next by the time of the first, and one that had none is
    forgotten; nobody is disturbed at work; and in the end, a further arrival always finishes what is there.
    """
    world, clock = clients.use(World(clients)), time.time
    with mock.patch("time.sleep"), mock.patch("time.time", side_effect=lambda: clock() + world.elapsed):
        world.play([*events, 1_000.0])
        claim = world.items().get("claim")
        live = claim and claim["state"] != "withdrawn" and float(claim["expiration"]) >= time.time()
        last = Arrival(claim["content"] if claim and live else "many", (), (Step((), "done"), Step((), "done")))
        outcomes = world.arrive(last)
        runs = world.runs
        assert outcomes is not None
        assert (world.arrive(last), world.runs) == (outcomes, runs)
    assert world.violations == []
