"""How the images of a plan are deleted: level by level, and as far as it gets."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from handler import selection
from handler.concurrency import TaskPool
from handler.models.errors import OutOfTimeError, ServiceUnavailableError, UnfinishedRequestError, UnknownOutcomeError
from handler.models.images import ImageFailure, ImageId, ListedImage
from handler.models.outcomes import ChunkOutcome
from handler.models.request import Selection
from handler.models.selection_outcome import SelectionOutcome
from tests.values import LOG, NOW, listed_image

STOPS = (OutOfTimeError("no time"), ServiceUnavailableError("not now"), UnknownOutcomeError("lost"))
image = listed_image


class Repository:
    """A repository that deletes what it is asked to, but for some images, and remembers the calls."""

    def __init__(self, codes: Mapping[str, str] | None = None, errors: Mapping[int, Exception] | None = None) -> None:
        """`codes` are the failures of some digests, `errors` what the calls of these numbers raise."""
        self.codes, self.errors = codes or {}, errors or {}
        self.asked: list[list[str]] = []

    def delete(self, chunk: Sequence[ListedImage]) -> ChunkOutcome:
        self.asked.append([found.digest for found in chunk])
        if error := self.errors.get(len(self.asked) - 1):
            raise error
        gone = [found for found in chunk if found.digest not in self.codes]
        failed = [found.digest for found in chunk if found.digest in self.codes]
        return ChunkOutcome(
            tuple(ImageId(found.digest, tag) for found in gone for tag in found.tags or [None]),
            tuple(ImageFailure(ImageId(name), self.codes[name], "why") for name in failed),
        )


@pytest.fixture(scope="module")
def pool() -> Iterator[TaskPool]:
    """Returns threads for one task at a time, so that the order of calls is known."""
    with ThreadPoolExecutor(1) as executor:
        yield TaskPool(executor, 1)


def select(
    repository: Repository,
    images: Sequence[ListedImage],
    pool: TaskPool,
    meant: Selection = Selection("any"),  # noqa: B008  # a value
    named: Mapping[str, Sequence[str] | None] | None = None,
) -> tuple[SelectionOutcome, bool]:
    """Deletes what a selection means; returns what became of it, and whether that is all."""
    plan = selection.make_plan(meant, images, named or {}, selection.Protection(lambda _: False), NOW)
    return selection.take_planned(plan, repository.delete, lambda *_, **__: None, pool, LOG)


def test_the_outcome_says_what_was_deleted(pool: TaskPool) -> None:
    """How many were selected and deleted, of how many bytes, under which names, and why the others stay."""
    images = [image("a", "pr-1", "x"), image("b", "pr-2", size=7), image("c", "main")]
    outcome, whole = select(Repository(), images, pool, Selection("tagged", ("pr-*",)))
    chunk = ChunkOutcome((ImageId("a", "pr-1"), ImageId("a", "x"), ImageId("b", "pr-2")))
    assert outcome == SelectionOutcome(2, 2, 107, {"NotMatched": 1}, chunk)
    assert whole


def test_the_outcome_holds_what_the_chunks_left_unsaid(pool: TaskPool) -> None:
    """Unconfirmed images count as deleted, and entries that did not fit are counted."""

    def delete(chunk: Sequence[ListedImage]) -> ChunkOutcome:
        ids = tuple(ImageId(found.digest) for found in chunk)
        return ChunkOutcome(ids, unconfirmed=ids[:1], omitted=5)

    plan = selection.make_plan(
        Selection("any"), [image(f"{n:03}") for n in range(150)], {}, selection.Protection(lambda _: False), NOW
    )
    outcome, _ = selection.take_planned(plan, delete, lambda *_, **__: None, pool, LOG)
    assert (outcome.deleted, len(outcome.chunk.image_ids), outcome.chunk.omitted) == (150, 150, 10)
    assert outcome.chunk.unconfirmed == (ImageId("000"), ImageId("100"))


def test_a_hundred_images_go_to_a_call_and_level_by_level(pool: TaskPool) -> None:
    """All calls of one level before those of the next."""
    indexes = [image(f"i{n}", "v1", is_index=True) for n in range(150)]
    repository, named = Repository(), {f"i{n}": [f"p{n}"] for n in range(150)}
    select(repository, [*(image(f"p{n}") for n in range(150)), *indexes], pool, Selection("tagged", ("v1",)), named)
    assert [(chunk[0][0], len(chunk)) for chunk in repository.asked] == [("i", 100), ("i", 50), ("p", 100), ("p", 50)]


@pytest.mark.parametrize("images", [[], [image("a")]])
def test_nothing_is_asked_for_where_nothing_is_selected(images: list[ListedImage], pool: TaskPool) -> None:
    """An empty repository, or one that holds nothing that matches."""
    repository = Repository()
    outcome, whole = select(repository, images, pool, Selection("tagged", ("v*",)))
    assert (outcome.selected, whole, repository.asked) == (0, True, [])


@pytest.mark.parametrize(
    ("code", "kept", "failed"),
    [
        ("ImageNotFound", {"AlreadyGone": 1}, []),
        ("ImageReferencedByManifestList", {"StillUsed": 1}, []),
        ("TaggedSince", {"TaggedSince": 1}, []),
        ("KmsError", {}, ["KmsError"]),
    ],
)
def test_a_change_since_the_plan_is_no_failure(
    code: str, kept: dict[str, int], failed: list[str], pool: TaskPool
) -> None:
    """An image that went, or is needed or tagged by now, is kept under a reason; what else ECR says is a failure."""
    outcome, whole = select(Repository({"a": code}), [image("a"), image("b")], pool)
    assert (outcome.deleted, outcome.bytes, outcome.kept, whole) == (1, 100, kept, True)
    assert [failure.code for failure in outcome.chunk.failures] == failed


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        *((code, [["x"]]) for code in ("TaggedSince", "KmsError", "ImageReferencedByManifestList")),
        ("ImageNotFound", [["x"], ["a", "s"], ["t"]]),
    ],
)
def test_what_belongs_to_an_image_that_stays_is_not_asked_for(
    code: str, asked: list[list[str]], pool: TaskPool
) -> None:
    """ECR itself would delete its signatures, for whatever reason it stays. If it is gone already, the rest goes."""
    images = [image("x", "v1", is_index=True), image("a"), image("s", subject="x"), image("t", subject="s")]
    repository = Repository({"x": code})
    outcome, _ = select(repository, images, pool, Selection("tagged", ("v1",)), {"x": ["a"]})
    assert repository.asked == asked
    assert outcome.deleted + sum(outcome.kept.values()) + len(outcome.chunk.failures) == outcome.selected == 4
    assert outcome.kept.get("StillUsed", 0) >= 3 * (len(asked) == 1)


@pytest.mark.parametrize("error", STOPS, ids=repr)
def test_what_comes_in_between_after_progress_ends_it(error: Exception, pool: TaskPool) -> None:
    """It says what was done, and that there is more to do; no further call is made."""
    repository = Repository(errors={1: error})
    outcome, whole = select(repository, [image(f"{n:03}") for n in range(250)], pool)
    assert (outcome.selected, outcome.deleted, whole, len(repository.asked)) == (250, 100, False, 2)


@pytest.mark.parametrize("error", STOPS, ids=repr)
def test_what_comes_in_between_before_any_progress_is_raised(error: Exception, pool: TaskPool) -> None:
    """Also where all that was asked for was gone already: a continuation without progress would never end."""
    gone = {f"{n:03}": "ImageNotFound" for n in range(100)}
    with pytest.raises(UnfinishedRequestError) as raised:
        select(Repository(gone, {1: error}), [image(f"{n:03}") for n in range(250)], pool)
    assert raised.value is error


def test_what_no_redelivery_cures_is_raised(pool: TaskPool) -> None:
    """An error of the code itself is no stop in good order."""
    with pytest.raises(ZeroDivisionError):
        select(Repository(errors={1: ZeroDivisionError()}), [image(f"{n:03}") for n in range(250)], pool)


def test_each_image_is_in_the_debug_log_alone(caplog: pytest.LogCaptureFixture, pool: TaskPool) -> None:
    """A repository has up to 100,000 images: counts are enough otherwise."""
    for level, digests in ((logging.INFO, []), (logging.DEBUG, [["a"]])):
        caplog.clear()
        caplog.set_level(level, "test")
        select(Repository({"b": "KmsError"}), [image("a"), image("b")], pool)
        entries: list[dict[str, Any]] = [vars(entry) for entry in caplog.records]
        assert [(e["done"], e["failed"]) for e in entries if e["msg"] == "chunk done"] == [(1, 1)]
        assert [e["imageDigests"] for e in entries if e["msg"] == "images selected"] == digests
