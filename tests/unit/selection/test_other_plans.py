"""Which archived images a selection brings back, which tags it removes, and what it makes of the archive."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import selection
from handler.models.images import ImageId, ListedImage
from handler.models.outcomes import Admission
from handler.models.request import Selection
from handler.selection import Plan, Protection
from handler.selection.restore_plan import make_restore_plan
from handler.selection.untag_plan import make_untag_plan
from tests.values import DAY, NOW, digest, listed_image

ARCHIVED: dict[str, Any] = {"status": "ARCHIVED", "archived": NOW - 40 * DAY}
ALL = Selection("any", storage_class="archive")


def restoring(
    images: Sequence[ListedImage],
    children: Mapping[str, Sequence[str] | None] | None = None,
    *,
    meant: Selection = ALL,
    only: Collection[str] | None = None,
) -> list[str]:
    """Returns what is restored, each level as letters in alphabetical order, the first one first."""
    plan = make_restore_plan(meant, images, children or {}, NOW, only)
    assert {i.digest for level in plan.levels for i in level}.isdisjoint(plan.kept)
    assert {i.digest for level in plan.levels for i in level} | plan.kept.keys() == {i.digest for i in images}
    return ["".join(sorted(image.digest for image in level)) for level in plan.levels]


def away(name: str, *tags: str, **changes: Any) -> ListedImage:
    """Returns an image that was archived 40 days ago."""
    return listed_image(name, *tags, **{**ARCHIVED, **changes})


def test_what_an_index_names_comes_before_it() -> None:
    """However deep; and signatures before what they sign, so that it can be verified once it can be pulled."""
    images = [away("x", "v1"), away("i"), away("p"), away("q"), away("s", subject="x"), away("t", subject="p")]
    assert restoring(images, {"x": ["i", "q"], "i": ["p"]}) == ["t", "p", "iqs", "x"]


def test_only_what_is_in_the_archive_comes_back() -> None:
    """What belongs to an image that can be pulled is judged by itself, not kept for it."""
    images = [listed_image("x", "v1"), away("p"), away("q"), listed_image("r", status="ACTIVATING")]
    assert restoring(images, {"x": ["p"]}) == ["pq"]
    assert restoring(images, {"x": ["p"]}, meant=Selection("untagged", storage_class="archive")) == ["pq"]
    assert restoring(images, {"x": ["p"]}, only={"q"}) == ["q"]


def test_what_belongs_to_a_selected_image_comes_along_and_nothing_else() -> None:
    """By tag: the platforms of a selected index, not those of others."""
    images = [away("x", "v1"), away("y", "w1"), away("p"), away("q"), away("z")]
    meant = Selection("tagged", ("v*",), storage_class="archive")
    assert restoring(images, {"x": ["p"], "y": ["p", "q"]}, meant=meant) == ["p", "x"]


def test_an_index_that_cannot_be_read_comes_back_all_the_same() -> None:
    """What it names is judged by itself."""
    images = [away("x", "v1"), away("p")]
    assert restoring(images, {"x": None}) == ["px"]
    assert restoring(images, {"x": None}, meant=Selection("tagged", ("v1",), storage_class="archive")) == ["x"]


@given(edges=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12), data=st.data())
def test_everything_that_is_meant_comes_back_and_children_first(
    edges: set[tuple[int, int]], data: st.DataObject
) -> None:
    """Whatever names what, without a circle."""
    children = {str(n): [str(m) for a, m in sorted(edges) if a == n and m > n] for n in range(7)}
    tagged = data.draw(st.sets(st.integers(0, 6)))
    images = [away(str(n), *(["v1"] if n in tagged else []), is_index=True) for n in range(7)]
    levels = restoring(images, children)
    place = {name: number for number, level in enumerate(levels) for name in level}
    assert place.keys() == {str(n) for n in range(7)}
    for index, names in children.items():
        for name in names:
            assert name in {str(n) for n in tagged} or place[name] < place[index]


def untagging(images: Sequence[ListedImage], meant: Selection) -> Plan:
    """Returns which tags are removed."""
    return make_untag_plan(meant, images, NOW)


def test_each_tag_that_matches_goes_by_itself() -> None:
    """Of the images that are meant, with the digest that it names; no byte of an image does."""
    images = [listed_image("a", "pr-2", "main", "pr-1"), listed_image("b", "pr-3", "keep"), listed_image("c", "v1")]
    plan = untagging(images, Selection("tagged", ("pr-*",), exclude_tag_patterns=("keep",)))
    [tags] = plan.levels
    assert [plan.image_id(tag) for tag in tags] == [ImageId("a", "pr-1"), ImageId("a", "pr-2")]
    assert (sum(tag.size for tag in tags), plan.kept) == (0, {"b": "Excluded", "c": "NotMatched"})


def test_limits_of_tags() -> None:
    """A request may remove as many tags as images; its share is that of the images that lose some."""
    images = [listed_image("a", "pr-1", "pr-2"), listed_image("b", "v1")]
    plan = untagging(images, Selection("tagged", ("pr-*",)))
    assert plan.over_limits(Admission(2, 50, 2)) is None
    assert "means 2 tags, and a request may delete 1;" in str(plan.over_limits(Admission(1, 50, 2)))
    assert "means 1 of the repository's 2 images, more than the 49 %" in str(plan.over_limits(Admission(2, 49, 2)))


def deleting(images: Sequence[ListedImage], meant: Selection, **protection: Any) -> dict[str, str]:
    """Returns why images stay; those that go are left out."""
    named = {"x": None} if any(image.is_index for image in images) else {}
    guards = Protection(lambda _: False)._replace(**protection)
    return selection.make_plan(meant, images, named, guards, NOW).kept


@pytest.mark.parametrize("status", ["ACTIVE", "ARCHIVED", "ACTIVATING"])
def test_a_selection_means_one_storage_class(status: str) -> None:
    """What is being restored is in neither."""
    images = [listed_image("a", "v1", status=status, archived=NOW)]
    assert deleting(images, Selection("any")) == ({} if status == "ACTIVE" else {"a": "Archived"})
    assert deleting(images, ALL) == ({} if status == "ARCHIVED" else {"a": "NotMatched"})


@pytest.mark.parametrize(("days", "kept"), [(29.9, {"a": "TooRecent"}), (30.1, {})])
def test_the_time_in_the_archive(days: float, kept: dict[str, str]) -> None:
    """Counts from the archiving; an image of which that is not known is too recent."""
    meant = ALL._replace(count_type="sinceImageTransitioned", count_number=30)
    assert deleting([away("a", days=999, archived=NOW - days * DAY)], meant) == kept
    assert deleting([away("a", days=999, archived=None)], meant) == {"a": "TooRecent"}


def test_what_is_in_its_grace_period_stays() -> None:
    """Alone, or with what it belongs to; and where the selection means some images alone, so do all others."""
    images = [away("a", "v1"), away("s", subject="a"), away("b")]
    assert deleting(images, ALL, in_grace={"s"}) == {"s": "InGracePeriod"}
    assert deleting(images, ALL, in_grace={"a"}) == {"a": "InGracePeriod", "s": "StillUsed"}
    assert deleting(images, ALL, only={"a"}) == {"s": "NotMatched", "b": "NotMatched"}
    assert deleting(images, ALL, only={"s"}) == {"a": "NotMatched", "s": "StillUsed", "b": "NotMatched"}


def test_what_was_restored_stays_for_a_while() -> None:
    """It counts among the most recent, like whatever is protected."""
    images = [listed_image(name, days=days, activated=at) for name, days, at in (("a", 3, NOW - DAY), ("b", 4, None))]
    meant = Selection("any", keep_most_recent=1)
    assert deleting(images, meant, restored_since=NOW - 30 * DAY) == {"a": "Restored"}
    assert deleting(images, meant, restored_since=NOW) == {"a": "MostRecent"}
    assert deleting(images, meant) == {"a": "MostRecent"}


@pytest.mark.parametrize(("status", "kept"), [("ARCHIVED", {"x": "Archived"}), ("ACTIVATING", None), ("ACTIVE", None)])
def test_an_archived_index_that_cannot_be_read_hinders_nobody(status: str, kept: dict[str, str] | None) -> None:
    """Nobody can pull it; one that can be pulled, or soon can, may need any image without tags."""
    images = [listed_image("x", "v1", is_index=True, status=status), listed_image("a"), listed_image("b", "v2")]
    everything = dict.fromkeys("xa", "UnreadableIndex")
    assert deleting(images, Selection("any")) == (everything if kept is None else kept)


def test_names_of_images_are_digests() -> None:
    """What a level asks ECR for is the image itself, whichever tags it has."""
    plan = selection.make_plan(Selection("any"), [listed_image(digest(1), "v1")], {}, Protection(lambda _: False), NOW)
    assert plan.image_id(plan.levels[0][0]) == ImageId(digest(1))
