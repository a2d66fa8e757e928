"""The engine: a request becomes chunks of at most a hundred, and their outcomes one report."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import replace
from typing import Any

import pytest

from handler.deletion import StepPool, Taken, carry_out
from handler.models import ChunkOutcome, DeletionReport, DeletionRequest, ImageId, Origin

LOG = logging.LoggerAdapter(logging.getLogger("test"), {})


class Repository:
    """An ECR that deletes what it is asked to delete."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[ImageId, ...]]] = []

    def delete(self, name: str, image_ids: Sequence[ImageId], delay: float, taken: Taken) -> ChunkOutcome:
        """One call of BatchDeleteImage."""
        assert delay == 0
        taken()
        self.calls.append((name, tuple(image_ids)))
        return ChunkOutcome(tuple(image_ids), ())


def by_tag(*tags: str) -> tuple[ImageId, ...]:
    """Ids of images by their tags."""
    return tuple(ImageId(tag=tag) for tag in tags)


@pytest.fixture
def pool() -> Iterator[StepPool]:
    """A pool of one thread, so that calls come in order."""
    with ThreadPoolExecutor(1) as executor:
        yield StepPool(executor, 1, lambda: 60.0)


def run(pool: StepPool, image_ids: Sequence[ImageId], delete: Callable[..., ChunkOutcome]) -> DeletionReport:
    """Carries out a request for these ids."""
    request = DeletionRequest("r-1", "app", tuple(image_ids), Origin("message", "m-1", "queue"), "hash")
    return carry_out(request, delete, pool, LOG)


@pytest.mark.parametrize(
    ("count", "chunks"), [(1, [1]), (99, [99]), (100, [100]), (101, [100, 1]), (200, [100, 100]), (254, [100, 100, 54])]
)
def test_a_request_is_cut_into_chunks_of_a_hundred(pool: StepPool, count: int, chunks: list[int]) -> None:
    """In the order asked, each id once; the name of a step tells pass and chunk."""
    tags = [f"v{n}" for n in range(count)]
    repository = Repository()
    report = run(pool, by_tag(*tags), repository.delete)
    assert [(name, len(image_ids)) for name, image_ids in repository.calls] == [
        (f"0/{n}", size) for n, size in enumerate(chunks)
    ]
    assert [image_id.tag for _, image_ids in repository.calls for image_id in image_ids] == tags
    assert (report.deleted, report.image_ids, report.failures) == (count, by_tag(*tags), ())


def test_malformed_ids_are_never_asked(pool: StepPool) -> None:
    """Each is its own failure, told in the order asked, and the others are deleted."""
    repository = Repository()
    report = run(pool, [ImageId(), *by_tag("v1", "", "v2"), ImageId("sha256:short")], repository.delete)
    assert [image_ids for _, image_ids in repository.calls] == [by_tag("v1", "v2")]
    assert [f.code for f in report.failures] == ["MissingDigestAndTag", "InvalidImageTag", "InvalidImageDigest"]
    assert report.deleted == 2


def test_malformed_ids_alone_ask_nothing(pool: StepPool) -> None:
    """Nor do they make an empty call."""
    repository = Repository()
    report = run(pool, by_tag("", "-"), repository.delete)
    assert (repository.calls, len(report.failures)) == ([], 2)


def test_what_the_store_left_out_is_added_up(pool: StepPool) -> None:
    """Over all chunks of all passes."""
    report = run(pool, by_tag(*(f"v{n}" for n in range(150))), lambda *_: ChunkOutcome((), (), omitted=7))
    assert report.omitted == 14


@pytest.mark.parametrize(("remembered", "replayed"), [((), False), (("0/0",), False), (("0/0", "0/1"), True)])
def test_a_report_is_replayed_when_every_step_was(
    pool: StepPool,
    remembered: tuple[str, ...],
    replayed: bool,  # noqa: FBT001
) -> None:
    """One step that was done now makes it news; the report is the same otherwise."""

    def delete(name: str, *_: Any) -> ChunkOutcome:
        return ChunkOutcome((), (), replayed=name in remembered)

    report = run(pool, by_tag(*(f"v{n}" for n in range(150))), delete)
    assert report.replayed is replayed
    news = run(pool, report.request.image_ids, lambda *_: ChunkOutcome((), ()))
    assert replace(report, replayed=False) == news


def test_what_a_step_raises_is_raised(pool: StepPool) -> None:
    """It is a redelivery's to cure: no later chunk is asked, and there is no report."""
    asked: list[str] = []

    def delete(name: str, *_: Any) -> ChunkOutcome:
        asked.append(name)
        if name == "0/1":
            raise ConnectionError(name)
        return ChunkOutcome((), ())

    with pytest.raises(ConnectionError, match=r"^0/1$"):
        run(pool, by_tag(*(f"v{n}" for n in range(700))), delete)
    assert asked == ["0/0", "0/1"]
