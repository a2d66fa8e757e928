"""What is promised, as it can be checked from outside: requests on a queue, and what became of each of their ids."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.faults.queue import Queue
from tests.faults.world import Json, World, subject

_PUSHED_AGAIN = 3
"""Tags of each request that get a new image once theirs is gone."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case."""

    complaints: list[str]
    repeated_notices: int = 0
    """Notices that were published more than once."""
    cases: int = 1
    """How many it was."""


def timed[**P](run: Callable[P, Result], *arguments: P.args, **options: P.kwargs) -> tuple[Result, float]:
    """What came of a case, and the seconds it took. One that breaks down is a complaint."""
    start = time.monotonic()
    try:
        result = run(*arguments, **options)
    except Exception as error:  # noqa: BLE001  # whatever it is
        result = Result([f"{arguments}: {error!r}"])
    return result, time.monotonic() - start


@dataclass
class Scene:
    """A world with images, a queue with requests to delete them, and what is pushed while they are carried out."""

    world: World
    queue: Queue
    tags: dict[str, list[str]]
    """What each request asks for, by its id, which is its repository's name too."""
    pushed_again: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, requests: int, size: int, *, world: World | None = None, failing: bool = True) -> Self:
        """Requests for `size` ids each. The last one does not exist.

        Of those for a single id, only every other one fails for that reason; `failing` says whether the first does.
        """
        world = world or World()
        tags: dict[str, list[str]] = {}
        for r in range(requests):
            tags[f"repository-{r}"] = [f"tag-{r}-{n}" for n in range(size)]
            if size > 1 or (r % 2 == 0) == failing:
                tags[f"repository-{r}"][-1] = f"missing-{r}"
        for repository, asked in tags.items():
            for tag in filter(_exists, asked):
                world.push(repository, tag)
        return cls(world, Queue({repository: _body(repository, asked) for repository, asked in tags.items()}), tags)

    def push_again(self) -> None:
        """Pushes a new image under some of the tags that are gone by now."""
        for repository, asked in self.tags.items():
            left = self.world.tags(repository)
            gone = [tag for tag in asked if _exists(tag) and tag not in left]
            self.pushed_again[repository] = set(gone[:: max(1, len(gone) // _PUSHED_AGAIN)])
            for tag in self.pushed_again[repository]:
                self.world.push(repository, tag, time.time())

    @property
    def repeated_notices(self) -> int:
        """How many notices came more than once."""
        return sum(count > 1 for count in Counter(map(subject, self.world.notices)).values())

    def complaints(self, *, doubts: int = 0, may_be_dead: bool = False) -> Iterator[str]:
        """What the promise does not allow, once the queue was delivered as often as it may be.

        `doubts` is how often SNS may have published a notice without its outcome being stored: then, and only then, it
        may come again.
        """
        yield from self.world.violations
        if self.queue.bodies:
            yield f"still on the queue: {list(self.queue.bodies)}"
        for repository, asked in self.tags.items():
            notices = [notice for notice in self.world.notices if notice.get("requestId") == repository]
            if taken := self.pushed_again.get(repository, set()) - self.world.tags(repository):
                yield f"{repository}: deleted although pushed again: {sorted(taken)[:3]}"
            if len(notices) > 1 + doubts:
                yield f"{repository}: {len(notices)} notices"
            if any(notice != notices[0] for notice in notices[1:]):
                yield f"{repository}: notices that differ"
            if repository not in self.queue.dead:
                yield from self._unaccounted(repository, notices[0] if notices else None)
            elif not may_be_dead:
                yield f"{repository}: a dead letter, although the fault was lifted"
            elif self.queue.dead[repository] != _body(repository, asked):
                yield f"{repository}: its dead letter is not what was sent"

    def _unaccounted(self, repository: str, notice: Json | None) -> Iterator[str]:
        """The tags of a finished request that are neither gone nor told, or told of what is not so."""
        again, left = self.pushed_again.get(repository, set()), self.world.tags(repository)
        asked = self.tags[repository]
        failures = notice["failures"] if notice else []
        # What a notice cannot hold is counted; only the last ones asked for may be missing from it.
        omitted = notice["failuresOmitted"] if notice else 0
        told = {failure["imageId"]["imageTag"]: failure for failure in failures}
        if len(told) < len(failures) or not told.keys() <= set(asked):
            yield f"{repository}: a failure is told twice, or of what nobody asked for"
        if notice and (notice["deleted"], notice["failed"]) != (len(asked) - len(told) - omitted, len(told) + omitted):
            yield f"{repository}: {notice['deleted']} deleted and {notice['failed']} failed is not what was asked"
        untold = [tag for tag in asked if tag not in told and not (_exists(tag) and (tag not in left or tag in again))]
        if len(untold) > omitted:
            yield f"{untold[:3]} of {len(untold)} are neither deleted nor told"
        for tag, failure in told.items():
            if not _honest(failure, existed=_exists(tag), again=tag in again):
                yield f"{tag} is told to have failed with {failure}"


def _exists(tag: str) -> bool:
    """Whether there is an image to begin with."""
    return not tag.startswith("missing")


def _body(repository: str, tags: list[str]) -> str:
    image_ids = [f"imageTag={tag}" for tag in tags]
    return json.dumps({"requestId": repository, "repositoryName": repository, "imageIds": image_ids})


def _honest(failure: Json, *, existed: bool, again: bool) -> bool:
    """An image that was there may be told only as one that may be gone already, or that was pushed again."""
    match failure["failureCode"]:
        case "ImageNotFound":
            return not existed or "an earlier try may have deleted it" in failure["failureReason"]
        case "ImageTagPushedAgain":
            return again
    return False
