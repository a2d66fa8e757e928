"""The claim of a request and its steps: what is admitted, done and replayed, on a DynamoDB in memory."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from handler.models.errors import (
    OutOfTimeError,
    RejectedRequestError,
    ServiceUnavailableError,
    StepLostError,
    UnfinishedRequestError,
    UnknownOutcomeError,
)
from handler.models.images import ImageFailure, ImageId
from handler.models.outcomes import ChunkOutcome, Published
from handler.models.request import DeletionRequest, Key, Origin
from handler.step_table import StepTable
from handler.steps import Attempt, StepRunner
from local.runtime import FakeLambdaContext
from tests.fakes.clients import Clients
from tests.fakes.ecr import DAY
from tests.fakes.scripted import URL, Play, ScriptedAWS, after, broken, lost
from tests.fakes.steps import KilledError

KEY: Key = ("request", "r-1")
MESSAGE: Key = ("message", "m-1")
REQUEST = DeletionRequest(KEY, "r-1", "team/app", (), Origin("message", "m-1", "queue"), "hash")
OTHER = REQUEST._replace(content_hash="other")

type Arrive = Callable[..., StepRunner]


class Work:
    """The side effect of a step: ends as it is scripted, and remembers what each try knew of earlier ones."""

    def __init__(self, *ends: BaseException, happens: Callable[[], object] = lambda: None) -> None:
        self.ends = list(ends)
        self.happens = happens
        self.first_attempts: list[float | None] = []

    def __call__(self, attempt: Attempt) -> Published:
        self.first_attempts.append(attempt.first_attempt_at)
        self.happens()
        if self.ends:
            raise self.ends.pop(0)
        return Published(str(len(self.first_attempts)))


@pytest.fixture
def arrive(clients: Clients, aws: ScriptedAWS) -> Arrive:
    """Makes the steps of a request, as a new arrival in a new invocation meets them."""
    del aws

    def arrive(key: Key = KEY, turn: int = 0, timeout: float = 60) -> StepRunner:
        context: Any = FakeLambdaContext(timeout=timeout)
        return StepRunner(StepTable.of(clients.dynamodb_client, "steps", context), key, turn)

    return arrive


def walk(
    runner: StepRunner,
    **steps: Callable[[Attempt], Published],
) -> list[tuple[str, bool]]:
    """Does these steps under the claim, `alone` as one that may be the only one.

    Returns the outcome of each, and whether it was replayed.
    """
    with runner.claim(REQUEST, None):
        done = [runner.run(name, Published, work, store_in_claim=name == "alone") for name, work in steps.items()]
    return [(outcome.message_id, replayed) for outcome, replayed in done]


def admit(
    runner: StepRunner,
    request: DeletionRequest = REQUEST,
    refusal: str | None = None,
    then: Exception | None = None,
    **steps: Callable[[Attempt], Published],
) -> bool:
    """Admits a request, does steps, and stops with an error; returns whether it is a dry run."""
    with runner.claim(request, refusal) as dry_run:
        for name, work in steps.items():
            runner.run(name, Published, work)
        if then:
            raise then
    return dry_run


BOTH = pytest.mark.parametrize("name", ["alone", "one"])
"""A step that is stored with its claim, and one that has an item of its own."""


# Steps.


def test_a_step_that_is_alone_costs_two_calls(arrive: Arrive, aws: ScriptedAWS) -> None:
    """To begin and to finish its claim; a duplicate costs one, and replays."""
    work = Work()
    assert walk(arrive(), alone=work) == [("1", False)]
    assert aws.calls == {"dynamodb": 2, "UpdateItem": 2}
    assert walk(arrive(), alone=work) == [("1", True)]
    assert aws.calls == {"dynamodb": 3, "UpdateItem": 3}


def test_a_step_that_others_follow_is_stored_before_they_begin(arrive: Arrive) -> None:
    """A step that was done is not done again, wherever the walk stopped; a duplicate replays it all."""
    for steps in (["two"], ["two", "three"]):
        stopped: dict[str, Any] = {name: Work(*[ServiceUnavailableError()] * (name == steps[-1])) for name in steps}
        with suppress(ServiceUnavailableError):
            walk(arrive(), alone=Work(), **stopped)
    late = Work(RuntimeError("done again"))
    assert walk(arrive(), alone=late, two=late, three=Work()) == [("1", True), ("1", True), ("1", False)]
    assert walk(arrive(), alone=late, two=late, three=late) == [("1", True)] * 3


def test_a_redelivery_that_finds_every_step_done_only_finishes_the_claim(arrive: Arrive) -> None:
    """The invocation before it ended in between; every duplicate after it replays."""
    with suppress(ServiceUnavailableError):
        admit(arrive(), one=Work(), then=ServiceUnavailableError())
    for _ in range(3):
        assert walk(arrive(), one=Work(RuntimeError("done again"))) == [("1", True)]


def test_steps_side_by_side_store_the_one_before_them_first(arrive: Arrive, aws: ScriptedAWS) -> None:
    """Once, whichever of them begins; the others wait for it."""
    together, names = Barrier(4), [f"side{n}" for n in range(4)]
    work = Work(happens=lambda: together.wait(5))
    slow: Play = after(lambda: threading.Event().wait(0.02))
    runner = arrive()
    with runner.claim(REQUEST, None), ThreadPoolExecutor(4) as threads:
        runner.run("alone", Published, Work(), store_in_claim=True)
        aws.plays["UpdateItem"] = [slow, slow]
        assert not any(threads.map(lambda name: runner.run(name, Published, work).replayed, names))
    written = [call["Key"]["step"]["S"] for call in aws.asked("UpdateItem")]
    assert written[:3] == ["claim", "alone", "alone"]
    assert written.count("alone") == 2
    late = Work(RuntimeError("done again"))
    assert all(replayed for _, replayed in walk(arrive(), alone=late, **dict.fromkeys(names, late)))


def test_an_outcome_is_read_as_it_was_stored(arrive: Arrive) -> None:
    """With its types, though JSON has lists for tuples, and its objects come back with sorted keys."""
    ids = (ImageId("sha256:b"), ImageId("sha256:a", "v1"), ImageId(tag="v0"))
    outcome = ChunkOutcome(ids, (ImageFailure(ImageId(tag="z"), "KmsError", "why"),), ids[2:], 7)
    for replayed in (False, True):
        runner = arrive()
        with runner.claim(REQUEST, None):
            assert runner.run("only", ChunkOutcome, lambda _: outcome, store_in_claim=True) == (outcome, replayed)
            assert runner.run("more", ChunkOutcome, lambda _: outcome) == (outcome, replayed)


def test_a_step_that_is_missing_from_a_finished_request_is_an_error(arrive: Arrive) -> None:
    """A replay does nothing, whatever it lacks."""
    walk(arrive(), one=Work())
    with pytest.raises(UnfinishedRequestError, match="the outcome of its step two is missing"):
        walk(arrive(), one=Work(), two=Work(RuntimeError("done")))


# Tries that leave no outcome.


@BOTH
def test_a_try_that_did_nothing_is_forgotten(arrive: Arrive, name: str) -> None:
    """ECR refused it, or it had no time: the next try is a first one, and may come at once."""
    work = Work(ServiceUnavailableError(), OutOfTimeError())
    for _ in range(2):
        with pytest.raises((ServiceUnavailableError, OutOfTimeError)):
            walk(arrive(), **{name: work})
    assert walk(arrive(), **{name: work}) == [("3", False)]
    assert work.first_attempts == [None] * 3


@BOTH
@pytest.mark.parametrize("error", [UnknownOutcomeError(), RuntimeError("a defect")])
def test_a_try_that_may_have_had_an_effect_is_known_to_the_next(
    arrive: Arrive, aws: ScriptedAWS, name: str, error: Exception
) -> None:
    """By the time of the first, also after tries that did nothing; once it is done, nothing is doubtful any more."""
    began, work = time.time(), Work(error, ServiceUnavailableError(), UnknownOutcomeError())
    for _ in range(3):
        with pytest.raises(type(work.ends[0])):
            walk(arrive(), **{name: work})
        aws.let_time_pass(DAY)
    assert walk(arrive(), **{name: work}) == [("4", False)]
    assert walk(arrive(), **{name: work}) == [("4", True)]
    assert work.first_attempts == [None] + [pytest.approx(began - days * DAY, abs=5) for days in (1, 2, 3)]


@BOTH
def test_what_a_killed_invocation_began_waits_until_that_is_over(arrive: Arrive, aws: ScriptedAWS, name: str) -> None:
    """It may still be at work: meanwhile nobody else is, and afterwards the next knows that it had begun."""
    began, work = time.time(), Work(KilledError())
    with pytest.raises(KilledError):
        walk(arrive(timeout=60), **{name: work})
    with pytest.raises(StepLostError, match="this request, or was stopped while it did; send it again once"):
        walk(arrive(), **{name: work})
    aws.let_time_pass(61)
    assert walk(arrive(), **{name: work}) == [("2", False)]
    assert work.first_attempts == [None, pytest.approx(began - 61, abs=5)]


def test_who_was_taken_over_does_not_go_on_from_an_outcome_of_its_own(arrive: Arrive, aws: ScriptedAWS) -> None:
    """The first step is stored when the next begins: where another has stored it meanwhile, the walk ends there."""

    def meanwhile() -> None:
        aws.let_time_pass(61)
        with suppress(ServiceUnavailableError):
            walk(arrive(), alone=Work(), two=Work(ServiceUnavailableError()))

    late = Work()
    with pytest.raises(StepLostError):
        walk(arrive(timeout=60), alone=Work(happens=meanwhile), two=late)
    assert late.first_attempts == []
    assert walk(arrive(), alone=late, two=late) == [("1", True), ("1", False)]


@pytest.mark.parametrize("ends", [[], [KilledError()]])
def test_of_two_redeliveries_at_a_time_one_goes_on(arrive: Arrive, aws: ScriptedAWS, ends: list[BaseException]) -> None:
    """Both find that the first try is over, and the other is first to take it over."""
    with suppress(UnknownOutcomeError):
        walk(arrive(), alone=Work(UnknownOutcomeError()))

    def other() -> None:
        with suppress(KilledError):
            walk(arrive(), alone=Work(*ends))

    aws.plays["UpdateItem"] = [lambda do: do(), after(other)]
    late = Work()
    with pytest.raises(StepLostError):
        walk(arrive(), alone=late)
    assert late.first_attempts == []


def test_two_receives_at_a_time_do_a_step_once(arrive: Arrive) -> None:
    """A message may be received again while its rejection is being published: only one of them publishes it."""
    late = Work()

    def meanwhile() -> None:
        with pytest.raises(StepLostError, match="another invocation is at rejected"):
            arrive(MESSAGE).reject("why", Published, late)

    assert arrive(MESSAGE).reject("why", Published, Work(happens=meanwhile)) == (Published("1"), False)
    assert late.first_attempts == []


# Admission.


def test_what_was_admitted_stays_so(arrive: Arrive, aws: ScriptedAWS) -> None:
    """Lower limits do not reject it, finished or not; what was not admitted is rejected, and leaves nothing behind."""
    with pytest.raises(RejectedRequestError, match=r"^too many$"):
        admit(arrive(), refusal="too many")
    assert aws.dynamodb.items("steps") == []
    with suppress(ServiceUnavailableError):
        admit(arrive(), then=ServiceUnavailableError())
    for _ in range(2):
        admit(arrive(), refusal="too many", one=Work())


@pytest.mark.parametrize("finished", [True, False])
def test_another_content_under_an_admitted_key_is_rejected(arrive: Arrive, finished: bool) -> None:  # noqa: FBT001
    """Whether the first is done or can be gone on with; it is not disturbed."""
    work = Work(*[UnknownOutcomeError()] * (not finished))
    with suppress(UnknownOutcomeError):
        walk(arrive(), one=work)
    for refusal in (None, "too many"):
        with pytest.raises(RejectedRequestError, match=r"^requestId 'r-1' was used before by a request that asked"):
            admit(arrive(), OTHER, refusal)
    assert walk(arrive(), one=work) == [("1", True) if finished else ("2", False)]


def test_a_request_that_is_rejected_inside_leaves_no_claim_behind(arrive: Arrive) -> None:
    """Its key admits any content anew, with steps of its own; and limits that refuse it now are asked again."""
    with pytest.raises(RejectedRequestError, match=r"^too large$"):
        admit(first := arrive(), one=Work(), then=RejectedRequestError("too large"))
    with pytest.raises(RejectedRequestError, match=r"^too many$"):
        admit(arrive(), refusal="too many")
    work = Work()
    admit(second := arrive(), OTHER, one=work)
    assert work.first_attempts == [None]
    assert second.generation != first.generation


@pytest.mark.parametrize("finished", [True, False])
def test_what_began_as_a_dry_run_stays_one(arrive: Arrive, finished: bool) -> None:  # noqa: FBT001
    """And a real request stays real, whatever the stack says later."""
    dry_run = REQUEST._replace(dry_run=True)
    for key, first, later in ((("request", "dry"), dry_run, REQUEST), (("request", "real"), REQUEST, dry_run)):
        with suppress(ServiceUnavailableError):
            admit(arrive(key), first, then=None if finished else ServiceUnavailableError())
        assert admit(arrive(key), later) is first.dry_run


# Turns.


def test_each_turn_has_steps_of_its_own(arrive: Arrive) -> None:
    """But for those of all turns; they belong to the claim that the first turn began."""
    work = Work()

    def turn(number: int, generation: str | None) -> tuple[list[tuple[str, bool]], list[Any], str]:
        runner = arrive(turn=number)
        with runner.claim(REQUEST._replace(turn=number, generation=generation), None):
            remembered = runner.remembered("sha")
            done = [runner.run("own", Published, work, store_in_claim=True)]
            done += [runner.run("shared", Published, work, of_all_turns=True)]
        return [(outcome.message_id, replayed) for outcome, replayed in done], remembered, runner.generation

    *first, generation = turn(0, None)
    shared = [{"messageId": "2"}]
    assert first == [[("1", False), ("2", False)], []]
    assert turn(1, generation) == ([("3", False), ("2", True)], shared, generation)
    assert turn(1, generation) == ([("3", True), ("2", True)], shared, generation)
    assert turn(0, None) == ([("1", True), ("2", True)], shared, generation)


# Rejections.


def test_a_rejection_belongs_to_its_arrival_and_is_published_once(arrive: Arrive) -> None:
    """Every later receive of it is rejected for the reason of the first; another arrival is judged anew."""
    work = Work()
    arrive(MESSAGE).raise_if_rejected()
    assert arrive(MESSAGE).reject("too many", Published, work) == (Published("1"), False)
    with pytest.raises(RejectedRequestError, match=r"^too many$"):
        arrive(MESSAGE).raise_if_rejected()
    assert arrive(MESSAGE).reject("too many", Published, work) == (Published("1"), True)
    arrive(("message", "m-2")).raise_if_rejected()
    admit(arrive())


def test_a_rejection_sticks_although_it_could_not_be_published(arrive: Arrive, aws: ScriptedAWS) -> None:
    """Its reason is stored first; the next receive publishes it. After 32 days it is forgotten."""
    with pytest.raises(ConnectionError):
        arrive(MESSAGE).reject("too many", Published, Work(ConnectionError()))
    with pytest.raises(RejectedRequestError, match=r"^too many$"):
        arrive(MESSAGE).raise_if_rejected()
    assert arrive(MESSAGE).reject("too many", Published, Work()) == (Published("1"), False)
    aws.let_time_pass(33 * DAY)
    arrive(MESSAGE).raise_if_rejected()


# Steps without a claim.


def test_a_step_of_an_arrival_needs_no_claim(arrive: Arrive, aws: ScriptedAWS) -> None:
    """It is done once for each arrival, in two calls, and replayed in one; no request is admitted by it."""
    work = Work()
    assert arrive(MESSAGE).run_unclaimed("sent", "r-1", Published, work) == (Published("1"), False)
    assert aws.calls == {"dynamodb": 2, "UpdateItem": 2}
    assert arrive(MESSAGE).run_unclaimed("sent", "r-1", Published, work) == (Published("1"), True)
    assert aws.calls["dynamodb"] == 3
    assert arrive(("message", "m-2")).run_unclaimed("sent", "r-1", Published, work) == (Published("2"), False)
    assert arrive(KEY).run_unclaimed("sent", "r-1", Published, work) == (Published("3"), False)
    arrive(MESSAGE).raise_if_rejected()
    admit(arrive())
    admit(arrive(MESSAGE), OTHER)


@pytest.mark.parametrize("error", [UnknownOutcomeError(), ServiceUnavailableError(), OutOfTimeError()])
def test_a_step_of_an_arrival_that_fails_is_tried_again(arrive: Arrive, error: Exception) -> None:
    """By the next receive, at once."""
    work = Work(error)
    with pytest.raises(type(error)):
        arrive(MESSAGE).run_unclaimed("sent", "r-1", Published, work)
    assert arrive(MESSAGE).run_unclaimed("sent", "r-1", Published, work) == (Published("2"), False)


def test_a_step_of_an_arrival_whose_instance_died_is_tried_again_later(arrive: Arrive, aws: ScriptedAWS) -> None:
    """Once the invocation that began it cannot live any more."""
    with pytest.raises(KilledError):
        arrive(MESSAGE).run_unclaimed("sent", "r-1", Published, Work(KilledError()))
    work = Work()
    with pytest.raises(StepLostError, match="another invocation is at sent"):
        arrive(MESSAGE).run_unclaimed("sent", "r-1", Published, work)
    aws.let_time_pass(61)
    assert arrive(MESSAGE).run_unclaimed("sent", "r-1", Published, work) == (Published("1"), False)


# A table whose responses are lost, or that cannot be reached.


@BOTH
@pytest.mark.parametrize("taken_over", [False, True])
def test_a_write_whose_response_is_lost_is_no_other_try(
    arrive: Arrive,
    aws: ScriptedAWS,
    sleeps: list[float],
    name: str,
    taken_over: bool,  # noqa: FBT001
) -> None:
    """It is applied, and applied again as botocore repeats it: to begin, to take over, and to finish."""
    if taken_over:
        with suppress(UnknownOutcomeError):
            walk(arrive(), **{name: Work(UnknownOutcomeError())})
    aws.plays["UpdateItem"] = [lost(), lambda do: do()] * 6
    assert walk(arrive(), **{name: (work := Work())}) == [("1", False)]
    assert [known is not None for known in work.first_attempts] == [taken_over]
    assert len(sleeps) >= 2


UNREACHED = [broken(ReadTimeoutError(endpoint_url=URL))] * 5


@pytest.mark.parametrize(("name", "before"), [("alone", 0), ("one", 0), ("one", 1)])
def test_a_step_that_cannot_be_begun_is_not_done(
    arrive: Arrive, aws: ScriptedAWS, sleeps: list[float], name: str, before: int
) -> None:
    """Nothing happens that could not be remembered: neither without its claim, nor without an item of its own."""
    del sleeps
    work = Work()
    aws.plays["UpdateItem"] = [lambda do: do()] * before + UNREACHED
    with pytest.raises(Exception, match=r"Read timeout|Failed to save in progress"):
        walk(arrive(), **{name: work})
    assert work.first_attempts == []


@BOTH
def test_a_step_whose_outcome_cannot_be_stored_is_known_to_have_begun(
    arrive: Arrive, aws: ScriptedAWS, sleeps: list[float], name: str
) -> None:
    """It is tried again once its invocation is over, and knows of the first try."""
    del sleeps

    def unreached() -> None:
        aws.plays["UpdateItem"] = list(UNREACHED)

    work = Work(happens=unreached)
    with pytest.raises(Exception, match=r"Read timeout|Failed to update record"):
        walk(arrive(timeout=60), **{name: work})
    aws.let_time_pass(61)
    work.happens = lambda: None
    assert walk(arrive(), **{name: work}) == [("2", False)]
    assert work.first_attempts == [None, pytest.approx(time.time() - 61, abs=5)]
