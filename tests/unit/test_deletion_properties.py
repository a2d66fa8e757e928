"""The engine's promises, for any request and whatever ECR answers."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from copy import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.deletion import TRANSIENT_TRIES, DeleteChunk, StepPool, Taken, carry_out
from handler.models import CHUNK_SIZE, ChunkOutcome, DeletionReport, DeletionRequest, ImageFailure, ImageId, Origin

LOG = logging.LoggerAdapter(logging.getLogger("test"), {})
BLOCKED = "ImageReferencedByManifestList"
TRANSIENT = ["UpstreamTooManyRequests", "UpstreamUnavailable", "KmsError"]
DELETED, FINAL = "deleted", ["ImageNotFound", "ImageTagDoesNotMatchDigest", "SomethingNew"]
ANSWERS = st.sampled_from([DELETED, DELETED, BLOCKED, BLOCKED, *TRANSIENT, *FINAL])


class Ecr:
    """Answers each id as it pleases, and remembers each step as the table does: as JSON."""

    def __init__(self, answers: st.DataObject | None, steps: dict[str, str] | None = None) -> None:
        self.answers = answers
        self.steps = {} if steps is None else steps
        self.asked: list[tuple[ImageId, ...]] = []
        self.told: dict[ImageId, list[str]] = {}

    def delete(self, name: str, image_ids: Sequence[ImageId], delay: float, taken: Taken) -> ChunkOutcome:
        """One step: replayed when it was done, made up otherwise."""
        assert delay in {0, 1, 2, 4}
        if name in self.steps:
            return ChunkOutcome.from_json(json.loads(self.steps[name]) | {"replayed": True})
        assert self.answers is not None, f"step {name} was not done before"
        taken()
        self.asked.append(tuple(image_ids))
        drawn = self.answers.draw(st.lists(ANSWERS, min_size=1, max_size=12))
        answers = {image_id: drawn[n % len(drawn)] for n, image_id in enumerate(image_ids)}
        for image_id, answer in answers.items():
            self.told.setdefault(image_id, []).append(answer)
        outcome = ChunkOutcome(
            tuple(image_id for image_id, answer in answers.items() if answer == DELETED),
            tuple(ImageFailure(image_id, answer, "why") for image_id, answer in answers.items() if answer != DELETED),
        )
        self.steps[name] = json.dumps(outcome.to_json())
        return outcome


class HereAndNow(Executor):
    """Runs what it is given at once, for only the thread of a test may draw answers."""

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # as executors do
            future.set_exception(error)
        return future


def digests(count: int) -> list[ImageId]:
    """Ids that share no name, so that each has a fate of its own; every tenth can name no image."""
    return [ImageId(f"sha256:{n:064}") if n % 10 else ImageId(tag=f"-{n}") for n in range(count)]


def carried_out(image_ids: Sequence[ImageId], delete: DeleteChunk, executor: Executor | None = None) -> DeletionReport:
    """The report of a request for these ids."""
    request = DeletionRequest("r-1", "app", tuple(image_ids), Origin("message", "m-1", "queue"), "hash")
    return carry_out(request, delete, StepPool(executor or HereAndNow(), 4, lambda: 60.0), LOG)


SIZES = st.one_of(*[st.integers(0, 30)] * 3, st.sampled_from([99, 100, 101, 250]))


@given(SIZES, st.data())
def test_any_answers(count: int, data: st.DataObject) -> None:
    """Each id has one fate, which is the last that ECR told; what is settled is never asked again."""
    ids, ecr = digests(count), Ecr(data)
    report = carried_out(ids, ecr.delete)

    assert all(0 < len(chunk) <= CHUNK_SIZE for chunk in ecr.asked)
    assert all(max(Counter(chunk).values()) == 1 for chunk in ecr.asked)
    assert ecr.told.keys() == {image_id for image_id in ids if image_id.malformed() is None}

    assert [f.image_id for f in report.failures] == [i for i in ids if i.malformed() or ecr.told[i][-1] != DELETED]
    assert set(report.image_ids) == {image_id for image_id, told in ecr.told.items() if told[-1] == DELETED}
    assert len(report.image_ids) == report.deleted == count - len(report.failures)
    for failure in report.failures:
        assert failure == (
            failure.image_id.malformed() or ImageFailure(failure.image_id, ecr.told[failure.image_id][-1], "why")
        )

    for told in ecr.told.values():
        assert set(told[:-1]) <= {BLOCKED, *TRANSIENT}
        assert sum(answer in TRANSIENT for answer in told) <= TRANSIENT_TRIES
    # A pass without a deletion asks for no blocked image again, so those bound the number of passes.
    assert len(ecr.steps) <= (report.deleted + TRANSIENT_TRIES + 1) * (1 + count // CHUNK_SIZE)


@given(SIZES, st.data())
def test_a_redelivery_gives_the_same_report(count: int, data: st.DataObject) -> None:
    """From the stored outcomes alone, without a question to ECR, however many threads walk the steps."""
    ids, ecr = digests(count), Ecr(data)
    report = carried_out(ids, ecr.delete)
    with ThreadPoolExecutor(4) as threads:
        again = carried_out(ids, Ecr(None, ecr.steps).delete, threads)
    assert again == replace(report, replayed=True)


class Crash(Exception):  # noqa: N818  # what happens, not what code reports
    """The end of an invocation in the middle of a request."""


@given(st.sampled_from([3, 30, 101, 250]), st.integers(0, 12), st.data())
def test_a_crash_at_any_step_is_resumed_there(count: int, survived: int, data: st.DataObject) -> None:
    """The redelivery asks for no chunk whose outcome is known, and its report is whole."""
    ids, first = digests(count), Ecr(data)

    def until_the_crash(name: str, image_ids: Sequence[ImageId], delay: float, taken: Taken) -> ChunkOutcome:
        if len(first.steps) == survived:
            raise Crash
        return first.delete(name, image_ids, delay, taken)

    with suppress(Crash):
        carried_out(ids, until_the_crash)
    assert len(first.asked) <= survived
    second = Ecr(data, dict(first.steps))
    report = carried_out(ids, second.delete)
    assert len(first.asked) + len(second.asked) == len(second.steps)
    assert replace(report, replayed=True) == carried_out(ids, Ecr(None, second.steps).delete)
    assert report.deleted + len(report.failures) == count


@pytest.mark.parametrize("answer", [BLOCKED, *TRANSIENT])
def test_an_answer_that_never_changes_ends_the_walk(answer: str) -> None:
    """However stubborn ECR is, the number of its calls is known."""
    calls: list[str] = []

    def delete(name: str, image_ids: Sequence[ImageId], _delay: float, taken: Taken) -> ChunkOutcome:
        taken()
        calls.append(name)
        return ChunkOutcome((), tuple(ImageFailure(image_id, answer, "why") for image_id in image_ids))

    report = carried_out([ImageId(tag="v1")], delete)
    assert len(calls) == (1 if answer == BLOCKED else TRANSIENT_TRIES)
    assert [failure.code for failure in report.failures] == [answer]
