"""What is known of use while an invocation lasts: asked once, and only believed of sources that have spoken in time."""

import time
from typing import Any

import pytest

from handler.models.errors import ServiceUnavailableError
from handler.models.images import ImageId
from handler.usage.guard import Usage
from handler.usage.inventory import Source, StoredUse

DIGEST = "sha256:" + "a" * 64
NOV_20 = 1_795_132_800.0
NOW = NOV_20 + 6 * 86_400


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is always the same moment."""
    monkeypatch.setattr(time, "time", lambda: NOW)


class Table:
    """An inventory with these sources and uses, which counts what it is asked."""

    def __init__(self, sources: dict[str, Source], uses: list[StoredUse]) -> None:
        self._sources, self._uses = sources, uses
        self.asked: list[str] = []

    def sources(self) -> dict[str, Source]:
        self.asked.append("sources")
        return self._sources

    def uses(self, repository_name: str) -> list[StoredUse]:
        self.asked.append(repository_name)
        return self._uses


def fresh(*names: str, began: float = -60, expires: float = 60) -> dict[str, Source]:
    """Sources by when they began to be read, and until when they are believed, seconds from when tests began."""
    return dict.fromkeys(names, Source(NOW + began, NOW + expires))


def use(user: str, *, tag: str | None = None, since: float = NOV_20) -> StoredUse:
    """A use of the image, or of the tag."""
    return StoredUse(ImageId(None if tag else DIGEST, tag), user, "ecs", since, since + 1e9)


def usage(table: Any, *sources: str) -> Usage:
    """What an invocation knows that must know of these sources."""
    return Usage(table, sources)


def test_each_repository_is_asked_about_once_and_the_sources_once() -> None:
    """However many requests and chunks of the invocation ask."""
    table = Table(fresh("ecs"), [])
    known = usage(table, "ecs")
    for name in ("a", "b", "a", "b"):
        assert known.of(name).nothing
    assert table.asked == ["sources", "a", "b"]


def test_what_is_not_believed_is_not_asked_for() -> None:
    """Nothing is deleted then, whatever the table has."""
    table = Table({}, [use("web")])
    assert "ecs has never been read whole" in str(usage(table, "ecs").of("a").unknown)
    assert table.asked == ["sources"]


@pytest.mark.parametrize(
    ("sources", "silent"),
    [
        (fresh("ecs", "lambda"), []),
        (fresh("ecs"), ["lambda"]),
        (fresh("lambda", "another"), ["ecs"]),
        ({}, ["ecs", "lambda"]),
        (fresh("ecs") | fresh("lambda", expires=-0.01), ["lambda"]),
        (fresh("ecs") | fresh("lambda", began=299), []),
        (fresh("ecs") | fresh("lambda", began=310, expires=900), ["lambda"]),
    ],
)
def test_every_source_must_have_spoken(sources: dict[str, Source], silent: list[str]) -> None:
    """In time, and by a clock that is not more than five minutes ahead."""
    unknown = usage(Table(sources, []), "ecs", "lambda").of("a").unknown
    assert [name for name in ("ecs", "lambda") if name in str(unknown)] == silent
    assert (unknown is None) == (not silent)


def test_a_failure_is_not_remembered() -> None:
    """A table that cannot be reached is asked again by whoever comes next."""

    class Broken(Table):
        def uses(self, repository_name: str) -> list[StoredUse]:
            if len(self.asked) == 1:
                self.asked.append("broken")
                raise ServiceUnavailableError("not now")
            return super().uses(repository_name)

    known = usage(Broken(fresh("ecs"), [use("web")]), "ecs")
    with pytest.raises(ServiceUnavailableError):
        known.of("a")
    assert known.of("a").digests == {DIGEST: "web since 2026-11-20"}


def test_the_user_that_came_first_is_named() -> None:
    """With the date, and how many others there are; a user whom two sources know is one."""
    uses = [use("b", since=NOV_20 + 86_400), use("a"), use("a"), use("c", since=NOV_20 + 1), use("d", tag="v1")]
    known = usage(Table(fresh("ecs"), uses), "ecs").of("a")
    assert known.digests == {DIGEST: "a since 2026-11-20, and 2 more"}
    assert known.tags == {"v1": "d since 2026-11-20"}


def test_what_a_used_index_names_is_read_once() -> None:
    """Not once for each chunk: a manifest never changes."""
    read: list[ImageId] = []

    def read_references(image_ids: Any) -> dict[Any, Any]:
        read.extend(image_ids)
        return {}

    known = usage(Table(fresh("ecs"), [use("web")]), "ecs").of("a")
    for _ in range(3):
        known.of([ImageId(tag="old")], read_references, lambda _: {})
    assert read.count(ImageId(DIGEST)) == 1


def test_the_first_chunk_asks_in_one_go() -> None:
    """For its own images, and for all that is in use; the others ask for theirs, and for what tags name by then."""
    asked: list[set[ImageId]] = []

    def read_references(image_ids: Any) -> dict[Any, Any]:
        asked.append(set(image_ids))
        return {}

    known = usage(Table(fresh("ecs"), [use("web"), use("web", tag="v1")]), "ecs").of("a")
    for tag in ("old", "older"):
        known.of([ImageId(tag=tag)], read_references, lambda _: {})
    assert asked == [
        {ImageId(DIGEST), ImageId(tag="v1"), ImageId(tag="old")},
        {ImageId(tag="v1"), ImageId(tag="older")},
    ]
