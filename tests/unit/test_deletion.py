"""The engine: chunks and passes, and one report that accounts for every id, whatever ECR answers."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.concurrency import TaskPool
from handler.deletion import TRANSIENT_TRIES, PassRunner, Relatives
from handler.models.errors import ServiceUnavailableError
from handler.models.images import ImageFailure, ImageId
from handler.models.limits import CHUNK_SIZE
from handler.models.outcomes import ChunkOutcome
from handler.models.report import DeletionReport
from handler.steps import Attempt
from tests.fakes.steps import INLINE, KilledError, MemorySteps, StepMemory
from tests.values import LOG, by_digest, by_tag, deletion_request, digest

BLOCKED, NOT_FOUND = "ImageReferencedByManifestList", "ImageNotFound"
TRANSIENT = ["UpstreamTooManyRequests", "UpstreamUnavailable", "KmsError"]
DELETED, UNCONFIRMED = "deleted", "unconfirmed"


class Call:
    """One chunk that was asked for."""

    def __init__(self, label: str, image_ids: Sequence[ImageId], gone: AbstractSet[ImageId], wait: float) -> None:
        self.label, self.image_ids, self.gone, self.wait = label, tuple(image_ids), gone, wait


class Chunks:
    """Answers for each id of a chunk in turn, at last always the same; everything else is deleted."""

    def __init__(self, answers: Mapping[ImageId, Sequence[str]] | None = None) -> None:
        self.answers = {image_id: list(some) for image_id, some in (answers or {}).items()}
        self.calls: list[Call] = []
        self.given: defaultdict[ImageId, list[str]] = defaultdict(list)
        """The answers for each id so far."""

    def answer(self, image_id: ImageId) -> str:
        """Returns what becomes of an id now."""
        some = self.answers.get(image_id, [DELETED])
        return some.pop(0) if len(some) > 1 else some[0]

    def __call__(
        self,
        attempt: Attempt,
        *,
        label: str,
        image_ids: Sequence[ImageId],
        gone: AbstractSet[ImageId],
        not_before: float,
    ) -> ChunkOutcome:
        del attempt
        self.calls.append(Call(label, image_ids, gone, not_before))
        answers = {image_id: self.answer(image_id) for image_id in image_ids}
        for image_id, answer in answers.items():
            self.given[image_id].append(answer)
        unconfirmed = tuple(i for i, answer in answers.items() if answer == UNCONFIRMED)
        failures = (ImageFailure(i, answer, "why") for i, answer in answers.items())
        return ChunkOutcome(
            (*(i for i, answer in answers.items() if answer == DELETED), *unconfirmed),
            tuple(failure for failure in failures if failure.code not in (DELETED, UNCONFIRMED)),
            unconfirmed,
        )

    @property
    def asked(self) -> list[tuple[ImageId, ...]]:
        """The ids of each call."""
        return [call.image_ids for call in self.calls]


def run(
    delete_chunk: Any,
    *image_ids: ImageId,
    relatives: Relatives | None = None,
    steps: MemorySteps | None = None,
    pool: TaskPool = INLINE,
    **changes: Any,
) -> DeletionReport:
    """Carries out a request for these ids."""
    runner = PassRunner(deletion_request(*image_ids, **changes), steps or MemorySteps(), pool, LOG)
    with mock.patch("time.monotonic", return_value=0.0):  # so that a step is not to begin before so many seconds
        return runner.run(relatives or Relatives(), delete_chunk)


def failed(report: DeletionReport) -> dict[str, str]:
    """The code of each failure, by its id."""
    return {str(failure.image_id): failure.code for failure in report.failures}


# Chunks.


@pytest.mark.parametrize(
    ("count", "chunks"), [(1, [1]), (99, [99]), (100, [100]), (101, [100, 1]), (200, [100, 100]), (254, [100, 100, 54])]
)
def test_a_request_is_cut_into_chunks_of_a_hundred(count: int, chunks: list[int]) -> None:
    """In the order asked, each id once; the name of a step says its pass and its chunk."""
    ids, delete = by_digest(*range(count)), Chunks()
    report = run(delete, *ids, steps=(steps := MemorySteps()))
    assert [len(some) for some in delete.asked] == chunks
    assert [image_id for some in delete.asked for image_id in some] == list(ids)
    assert [call.label for call in delete.calls] == [f"0/{n}" for n in range(len(chunks))]
    assert steps.done == [f"delete/0/{n}" for n in range(len(chunks))]
    assert (report.done, report.image_ids, report.failures) == (count, ids, ())


def test_what_the_store_left_out_is_added_up() -> None:
    """Over all chunks of all passes."""
    report = run(lambda _, **__: ChunkOutcome(omitted=7), *by_digest(*range(150)))
    assert report.omitted == 14


@pytest.mark.parametrize("replaying", [True, False])
def test_a_report_is_replayed_with_its_request(replaying: bool) -> None:  # noqa: FBT001
    """A request that is done does nothing now; what was unfinished is news, though steps of it are replayed."""
    memory = StepMemory()
    first = run(Chunks(), *by_tag("v1"), steps=MemorySteps(memory))
    steps = MemorySteps(memory)
    steps.replaying = replaying
    assert run(Chunks(), *by_tag("v1"), steps=steps) == first._replace(replayed=replaying)


def test_an_error_of_a_step_ends_the_walk() -> None:
    """It is for a redelivery to cure: no later chunk is asked for, and there is no report."""
    ids, delete = by_digest(*range(700)), Chunks()

    def fails(attempt: Attempt, **chunk: Any) -> ChunkOutcome:
        delete(attempt, **chunk)
        if chunk["label"] == "0/1":
            raise ServiceUnavailableError("not now")
        return ChunkOutcome()

    with pytest.raises(ServiceUnavailableError, match=r"^not now$"):
        run(fails, *ids)
    assert len(delete.calls) < 7


@pytest.mark.parametrize("untag", [False, True])
def test_chunks_go_side_by_side_unless_they_untag(untag: bool) -> None:  # noqa: FBT001
    """Tags of one image that go side by side would each see the other left, and the image would go with the last."""
    together, met = Barrier(3), [0]

    def delete(attempt: Attempt, *, image_ids: Sequence[ImageId], **_: Any) -> ChunkOutcome:
        del attempt
        with suppress(BrokenBarrierError):
            together.wait(0.05 if untag else 5)
            met[0] += 1
        return ChunkOutcome(tuple(image_ids))

    with ThreadPoolExecutor(3) as threads:
        run(delete, *by_tag(*(f"v{n}" for n in range(300))), pool=TaskPool(threads, 3), untag=untag)
    assert met[0] == (0 if untag else 3)


# Passes.


def test_what_is_blocked_is_asked_for_again_once_something_is_gone() -> None:
    """In the order of the request; without progress, to ask again would only repeat the answer."""
    index, child, grandchild, other = by_digest(1, 2, 3, 4)
    delete = Chunks({grandchild: [BLOCKED, BLOCKED, DELETED], child: [BLOCKED, DELETED], other: [BLOCKED]})
    report = run(delete, grandchild, other, child, index)
    assert delete.asked == [
        (grandchild, other, child, index),
        (grandchild, other, child),
        (grandchild, other),
        (other,),
    ]
    assert failed(report) == {str(other): BLOCKED}
    delete = Chunks({child: [BLOCKED, DELETED], index: ["KmsError", DELETED]})
    assert run(delete, child, index).failures == ()
    assert delete.asked == [(child, index), (index,), (child,)]
    delete = Chunks({child: [BLOCKED], index: [NOT_FOUND]})
    assert failed(run(delete, child, index)) == {str(child): BLOCKED, str(index): NOT_FOUND}
    assert len(delete.calls) == 1


@pytest.mark.parametrize("code", TRANSIENT)
@pytest.mark.parametrize(("troubles", "waits"), [(1, [0, 1]), (2, [0, 1, 2]), (3, [0, 1, 2, 4]), (4, [0, 1, 2, 4])])
def test_a_failure_that_may_pass_is_retried(code: str, troubles: int, waits: list[float]) -> None:
    """Four times at most, each after twice the time; then it is a failure."""
    delete = Chunks({ImageId(tag="v1"): [code] * troubles + [DELETED]})
    report = run(delete, *by_tag("v1", "v2"))
    assert [call.wait for call in delete.calls[1:]] == waits[1:]
    assert delete.asked == [by_tag("v1", "v2"), *[by_tag("v1")] * (len(waits) - 1)]
    assert failed(report) == ({"imageTag=v1": code} if troubles == 4 else {})


def test_only_failures_that_may_pass_use_up_the_tries() -> None:
    """An id that was blocked in four passes is still retried at its first trouble; one that was in trouble may wait."""
    ids = by_digest(1, 2, 3, 4, 5)
    answers = {i: [*[BLOCKED] * (4 - n), DELETED] for n, i in enumerate(ids)}
    answers[ids[0]] = [*[BLOCKED] * 4, "KmsError", DELETED]
    delete = Chunks(answers)
    assert run(delete, *ids).failures == ()
    assert [call.wait for call in delete.calls[5:]] == [1]


@pytest.mark.parametrize("digest_first", [True, False])
def test_what_another_id_took_along_is_deleted(digest_first: bool) -> None:  # noqa: FBT001
    """By digest with all its tags, or with its last tag, also in another chunk: not found there, but gone."""
    named, filler = (*by_digest(1), *by_tag("latest")), by_digest(*range(100, 200))
    first, second = named if digest_first else named[::-1]

    def delete(attempt: Attempt, *, image_ids: Sequence[ImageId], **_: Any) -> ChunkOutcome:
        del attempt
        failures = (ImageFailure(second, NOT_FOUND, "why"),) if second in image_ids else ()
        gone = [ImageId(digest(1), "latest") if i == first else i for i in image_ids if i != second]
        return ChunkOutcome(tuple(gone), failures)

    report = run(delete, first, *filler, second)
    assert (report.done, report.failures) == (102, ())
    report = run(Chunks({second: [NOT_FOUND]}), *filler, second)
    assert failed(report) == {str(second): NOT_FOUND}


# Relatives.

INDEX, CHILD, OTHER_CHILD, THIRD = by_digest(1, 2, 3, 4)


def parents(*relatives: ImageId) -> Relatives:
    """These belong to the index."""
    return Relatives({str(relative.digest): [digest(1)] for relative in relatives})


def test_relatives_are_asked_for_after_what_is_named() -> None:
    """And again as long as something goes that they may have been needed by."""
    delete = Chunks({CHILD: ["StillUsed", "StillUsed", DELETED], OTHER_CHILD: [BLOCKED, DELETED]})
    report = run(delete, INDEX, relatives=parents(CHILD, OTHER_CHILD, THIRD), cascade=True)
    assert delete.asked == [(INDEX,), (CHILD, OTHER_CHILD, THIRD), (CHILD, OTHER_CHILD), (CHILD,)]
    assert (set(report.image_ids), report.kept, report.done) == ({INDEX, CHILD, OTHER_CHILD, THIRD}, (), 1)


def test_a_relative_that_cannot_be_deleted_is_a_failure() -> None:
    """After those of the ids that are named, and counted among what was asked for."""
    delete = Chunks({INDEX: ["SomethingNew"], CHILD: ["KmsError"], OTHER_CHILD: [NOT_FOUND]})
    report = run(delete, INDEX, relatives=parents(CHILD, OTHER_CHILD, THIRD), cascade=True)
    assert failed(report) == {str(INDEX): "SomethingNew", str(CHILD): "KmsError"}
    assert (report.asked, report.done, report.failed_relatives, report.kept) == (2, 0, 1, ())
    assert delete.given[CHILD] == ["KmsError"] * TRANSIENT_TRIES


def test_what_belongs_to_what_cannot_be_known_is_never_asked_for() -> None:
    """Named or not; it is a failure as the look-up says, and no retry cures it."""
    failures = {i: ImageFailure(i, "KmsError", "why") for i in (INDEX, CHILD)}
    delete = Chunks()
    relatives = parents(CHILD, OTHER_CHILD)._replace(failures=failures)
    report = run(delete, INDEX, THIRD, relatives=relatives, cascade=True)
    assert delete.asked == [(THIRD,), (OTHER_CHILD,)]
    assert failed(report) == {str(INDEX): "KmsError", str(CHILD): "KmsError"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_dry_run_hands_on_what_would_be_gone(dry_run: bool) -> None:  # noqa: FBT001
    """So that relatives are judged as if it were; of a real one, ECR is asked what is there."""
    delete = Chunks({THIRD: [UNCONFIRMED]})
    run(delete, INDEX, THIRD, relatives=parents(CHILD), cascade=True, dry_run=dry_run)
    assert [call.gone for call in delete.calls] == [set(), {INDEX, THIRD} if dry_run else set()]


# Whatever ECR answers, and wherever an invocation ends.

ANSWERS = st.sampled_from([
    *[DELETED, BLOCKED] * 2, UNCONFIRMED, *TRANSIENT, NOT_FOUND,
    "ImageTagDoesNotMatchDigest", "UpstreamAccessDenied", "SomethingNew",
])  # fmt: skip
OF_RELATIVES = st.sampled_from(
    [DELETED, "StillUsed", "StillTagged", "LeftUntagged", "ProtectedTag", BLOCKED, NOT_FOUND]
)
SIZES = st.one_of(*[st.integers(0, 30)] * 3, st.sampled_from([99, 100, 101, 250]))
FINAL = {
    "ImageTagDoesNotMatchDigest",
    "UpstreamAccessDenied",
    "SomethingNew",
    "LeftUntagged",
    "ProtectedTag",
    NOT_FOUND,
}


type Request = tuple[tuple[ImageId, ...], Relatives, Callable[[], AnyChunks]]


class AnyChunks(Chunks):
    """Answers as is drawn, by the id and how often it was asked for: the same in every invocation."""

    def __init__(self, drawn: Sequence[str], of_relatives: Sequence[str], relatives: AbstractSet[ImageId]) -> None:
        super().__init__()
        self.drawn, self.of_relatives, self.relatives = drawn, of_relatives, relatives

    def answer(self, image_id: ImageId) -> str:
        drawn = self.of_relatives if image_id in self.relatives else self.drawn
        number = int((image_id.digest or "0")[-6:], 16)
        return drawn[(number * 7 + len(self.given[image_id])) % len(drawn)]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Ids, every tenth of which can name no image; their relatives; and what ECR answers."""
    ids = tuple(ImageId(digest(n)) if n % 10 else ImageId(tag=f"-{n}") for n in range(draw(SIZES)))
    relatives = by_digest(*range(10_000, 10_000 + draw(SIZES)))
    drawn = draw(st.lists(ANSWERS, min_size=1, max_size=12)), draw(st.lists(OF_RELATIVES, min_size=1, max_size=8))
    return ids, parents(*relatives), lambda: AnyChunks(*drawn, set(relatives))


@given(case=requests())
def test_each_id_is_accounted_for_once(case: Request) -> None:
    """By the last that ECR answered; what is settled is never asked for again, and the number of calls is bounded."""
    ids, relatives, chunks = case
    report = run(delete := chunks(), *ids, relatives=relatives, cascade=True)
    others = by_digest(*range(10_000, 10_000 + len(relatives.parents)))

    assert all(0 < len(chunk) <= CHUNK_SIZE and max(Counter(chunk).values()) == 1 for chunk in delete.asked)
    assert delete.given.keys() == {image_id for image_id in (*ids, *others) if image_id.malformed() is None}
    last = {image_id: answers[-1] for image_id, answers in delete.given.items()}
    gone = {image_id for image_id, answer in last.items() if answer in (DELETED, UNCONFIRMED)}
    assert (set(report.image_ids), len(report.image_ids)) == (gone, len(gone))
    assert set(report.unconfirmed) == {image_id for image_id, answer in last.items() if answer == UNCONFIRMED}

    assert [f.image_id for f in report.failures if f.image_id not in others] == [i for i in ids if i not in gone]
    assert report.done == len(gone & set(ids))
    kept = {"StillUsed", "StillTagged", "ProtectedTag", BLOCKED}
    assert [k.image_id for k in report.kept] == [i for i in others if last[i] in kept]
    assert report.left_untagged == sum(last[i] == "LeftUntagged" for i in others)
    for failure in (*report.failures, *report.kept):
        image_id = failure.image_id
        assert failure == (image_id.malformed() or ImageFailure(image_id, last[image_id], "why"))

    for answers in delete.given.values():
        assert not FINAL.union([DELETED, UNCONFIRMED]) & set(answers[:-1])
        assert sum(answer in TRANSIENT for answer in answers) <= TRANSIENT_TRIES
    # A pass in which nothing goes asks for nothing again that is blocked, so what goes bounds the number of passes.
    assert len(delete.calls) <= (len(gone) + TRANSIENT_TRIES + 2) * (2 + (len(ids) + len(others)) // CHUNK_SIZE)
    assert {call.wait for call in delete.calls} <= {0, 1, 2, 4}


@given(case=requests(), lives=st.lists(st.integers(0, 8), max_size=4))
@settings(max_examples=settings().max_examples // 2)
def test_a_redelivery_goes_on_where_the_last_stopped(case: Request, lives: list[int]) -> None:
    """Wherever invocations end: no chunk is asked for whose outcome is stored, and the report is the same.

    Stored outcomes are all that it goes by, in however many threads, although they come back with sorted keys.
    """
    ids, relatives, chunks = case
    expected = run(reference := chunks(), *ids, relatives=relatives, cascade=True)
    memory, delete = StepMemory(), chunks()
    for survives in [*lives, None]:
        with suppress(KilledError):
            steps = MemorySteps(memory, survives=survives)
            assert run(delete, *ids, relatives=relatives, cascade=True, steps=steps) == expected
    assert delete.asked == reference.asked
    assert memory.outcomes.keys() == {f"delete/{call.label}" for call in reference.calls}
    steps = MemorySteps(memory)
    steps.replaying = True
    with ThreadPoolExecutor(4) as threads:
        again = run(delete, *ids, relatives=relatives, cascade=True, steps=steps, pool=TaskPool(threads, 4))
    assert again == expected._replace(replayed=True)
