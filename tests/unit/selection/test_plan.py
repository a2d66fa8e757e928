"""Which images a selection means, in the sense of ECR's lifecycle policies, and why all others stay."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from handler import guards, selection
from handler.models.images import ListedImage, signature_tags
from handler.models.outcomes import Admission
from handler.models.request import Selection
from handler.selection import Plan
from tests.values import DAY, NOW, digest, listed_image

ALL = Selection("any")
SUBJECT, OTHER = digest(1), digest(2)
image = listed_image


def tagged(*patterns: str, **words: Any) -> Selection:
    """Returns a selection of what has a tag for each pattern."""
    return Selection("tagged", patterns)._replace(**words)


def plan(
    meant: Selection,
    images: Sequence[ListedImage],
    *,
    children: Mapping[str, Sequence[str]] | None = None,
    unread: Collection[str] = (),
    protected: str = "",
    remembered: Collection[str] = (),
) -> Plan:
    """Returns what a selection means, where one pattern of tags is protected."""
    rules = guards.Rules((protected,) if protected else ())
    named: dict[str, Sequence[str] | None] = {**(children or {}), **dict.fromkeys(unread)}
    protection = selection.Protection(partial(guards.protects, rules))
    return selection.make_plan(meant, images, named, protection, NOW, remembered)


def going(made: Plan) -> str:
    """Returns what goes, each image a letter, in the order of the alphabet."""
    return "".join(sorted(found.digest for level in made.levels for found in level))


# Which images match.

STATUS = {"a": ("v1",), "b": (), "c": ("v2", "w"), "d": ()}


@pytest.mark.parametrize(("status", "expected"), [("tagged", "ac"), ("untagged", "bd"), ("any", "abcd")])
def test_the_tag_status(status: str, expected: str) -> None:
    """Images with tags, those without, or both; the others do not match."""
    meant = Selection(status, ("*",) if status == "tagged" else ())
    made = plan(meant, [image(name, *tags) for name, tags in STATUS.items()])
    assert going(made) == expected
    assert made.kept == dict.fromkeys(STATUS.keys() - set(expected), "NotMatched")


@pytest.mark.parametrize(
    ("patterns", "tags", "matched"),
    [
        ("prod", "prod", True),
        ("prod", "prod-1", False),
        ("prod", "my-prod", False),
        ("prod*", "prod", True),
        ("*prod", "my-prod", True),
        ("*prod*", "a-prod-b", True),
        ("a*b*c", "a1b2c", True),
        ("a*b*c", "acb", False),
        ("*", "anything", True),
        ("*", "", False),
        ("pr-*", "main pr-1", True),
        ("pr-* *-arm", "pr-1-arm", True),
        ("pr-* *-arm", "pr-1 x-arm", True),
        ("pr-* *-arm", "pr-1", False),
        ("PROD*", "prod", False),
        ("v1.0", "v1x0", False),
    ],
)
def test_a_pattern_is_that_of_a_lifecycle_policy(patterns: str, tags: str, matched: bool) -> None:  # noqa: FBT001
    """A star is any characters or none, case counts, and each pattern needs a tag."""
    made = plan(tagged(*patterns.split()), [image("a", *tags.split())])
    assert going(made) == ("a" if matched else "")


def test_an_excluded_image_stays_whatever_else_it_matches() -> None:
    """One tag for one of the patterns is enough; and it does not count among the most recent."""
    meant = tagged("pr-*", exclude_tag_patterns=("*-keep", "main"), keep_most_recent=1)
    images = [image("a", "pr-1", "main", days=0), image("b", "pr-2-keep", days=1)]
    images += [image("c", "pr-3", days=2), image("d", "pr-4", days=3)]
    assert plan(meant, images).kept == {"a": "Excluded", "b": "Excluded", "c": "MostRecent"}


def test_a_protected_image_stays_and_counts_among_the_most_recent() -> None:
    """Whatever its other tags; it takes the place of another that matches."""
    images = [image("a", "pr-1", "prod", days=1), image("b", "pr-2", days=2), image("c", "pr-3", days=3)]
    made = plan(tagged("pr-*", keep_most_recent=2), images, protected="prod")
    assert made.kept == {"a": "ProtectedTag", "b": "MostRecent"}


# Which of those are old enough.


@pytest.mark.parametrize(("days", "goes"), [(13, False), (14, False), (14.001, True), (-1, False), (20_000, True)])
def test_since_it_was_pushed(days: float, goes: bool) -> None:  # noqa: FBT001
    """More than so many days ago, whenever it was pulled or restored; a push in the future is no age at all."""
    meant = Selection("any", count_type="sinceImagePushed", count_number=14)
    made = plan(meant, [image("a", days=days, pulled=NOW, activated=NOW)])
    assert made.kept == ({} if goes else {"a": "TooRecent"})


@pytest.mark.parametrize(
    ("pushed", "pulled", "activated", "goes"),
    [
        (200, 100, None, True),
        (200, 90, None, False),
        (200, 10, None, False),
        (200, None, None, True),
        (90, None, None, False),
        (10, 100, None, False),  # pushed again since
        (200, 100, 1, False),  # restored from the archive yesterday
        (200, None, 90, False),
        (200, 100, 91, True),
        (200, 10, 100, False),
    ],
)
def test_since_it_was_pulled(pushed: int, pulled: int | None, activated: int | None, goes: bool) -> None:  # noqa: FBT001
    """The last pull counts, or the push where there is no pull since, or the restoration from the archive."""
    meant = Selection("any", count_type="sinceImagePulled", count_number=90)
    times = [None if days is None else NOW - days * DAY for days in (pulled, activated)]
    made = plan(meant, [image("a", days=pushed, pulled=times[0], activated=times[1])])
    assert made.kept == ({} if goes else {"a": "TooRecent"})


@pytest.mark.parametrize(
    ("count", "keep", "expected"),
    [(1, 0, "acd"), (2, 0, "ad"), (3, 0, "a"), (4, 0, ""), (100_000, 0, ""), (2, 1, "ad"), (1, 2, "ad"), (1, 4, "")],
)
def test_more_than_so_many(count: int, keep: int, expected: str) -> None:
    """All but the last pushed, in whatever order they are listed; beside keepMostRecent, the larger number holds."""
    images = [image("a", days=4), image("b", days=1), image("c", days=2), image("d", days=3)]
    meant = Selection("any", count_type="imageCountMoreThan", count_number=count, keep_most_recent=keep)
    made = plan(meant, images)
    assert going(made) == expected
    assert set(made.kept.values()) <= {"MostRecent"}


def test_the_most_recent_stay_however_old() -> None:
    """Beside an age; the others of its age go, and what does not match counts for nothing."""
    meant = tagged("pr-*", count_type="sinceImagePushed", count_number=14, keep_most_recent=2)
    images = [image("a", "pr-1", days=20), image("b", "pr-2", days=21), image("c", "pr-3", days=22), image("d", "x")]
    assert plan(meant, images).kept == {"a": "MostRecent", "b": "MostRecent", "d": "NotMatched"}


def test_images_of_the_same_time_are_ranked_by_digest() -> None:
    """The same ones stay, in whatever order ECR lists them: a redelivery must not select the others."""
    images = [image(name, days=1) for name in "dbca"]
    meant = Selection("any", count_type="imageCountMoreThan", count_number=2)
    assert going(plan(meant, images)) == going(plan(meant, images[::-1])) == "cd"


# A multi-architecture image, with its signatures, counts as one image.


def test_an_index_goes_before_what_it_names() -> None:
    """Level by level from the outside, for ECR refuses what a present index names; referrers follow their subject."""
    images = [
        *(image("p"), image("q")),
        *(image("i", is_index=True), image("o", "v1", is_index=True)),
        *(image("s", subject="o"), image("t", subject="s")),
    ]
    made = plan(tagged("v*"), images, children={"o": ["i", "p"], "i": ["q", "p"]})
    assert [{found.digest for found in level} for level in made.levels] == [{"o"}, {"i", "s"}, {"p", "q", "t"}]
    assert (made.selected, set(made.followers)) == (6, {"i", "p", "q", "s", "t"})


@pytest.mark.parametrize("children", [{"x": ["y", "a"], "z": ["a"]}, {"x": ["y"], "y": ["a"], "z": ["a"]}])
def test_what_a_kept_index_names_stays(children: dict[str, list[str]]) -> None:
    """Also where another index that names it goes, and however many levels lie between."""
    images = [
        *(image(name, tag, is_index=True) for name, tag in (("x", "main"), ("z", "pr-1"))),
        image("y"),
        image("a"),
    ]
    made = plan(tagged("pr-*"), images, children=children)
    assert going(made) == "z"
    assert made.kept == {"x": "NotMatched", "y": "StillUsed", "a": "StillUsed"}


def test_a_part_with_a_tag_of_its_own_is_judged_by_itself() -> None:
    """It stays where it is not meant though its index goes, and where its index stays though it is meant."""
    images = [image(name, tag, is_index=True) for name, tag in (("x", "pr-1"), ("y", "main"))]
    images += [image("a", "amd64"), image("b", "pr-2")]
    made = plan(tagged("pr-*"), images, children={"x": ["a"], "y": ["b"]})
    assert (going(made), made.kept) == ("x", {"a": "NotMatched", "y": "NotMatched", "b": "StillUsed"})


@pytest.mark.parametrize(("kept_tag", "reason"), [("keep", "Excluded"), ("prod", "ProtectedTag")])
def test_a_part_that_must_stay_does(kept_tag: str, reason: str) -> None:
    """Its index goes, and what it names itself stays with it."""
    images = [image("x", "pr-1", is_index=True), image("y", kept_tag, "pr-2", is_index=True), image("a")]
    meant = tagged("pr-*", exclude_tag_patterns=("keep",))
    made = plan(meant, images, children={"x": ["y"], "y": ["a"]}, protected="prod")
    assert (going(made), made.kept) == ("x", {"y": reason, "a": "StillUsed"})


def test_where_an_index_cannot_be_read_no_untagged_image_goes() -> None:
    """Any of them may be part of it, signatures by tag too; with tags of their own, all but the index go as meant."""
    images = [image(name, f"pr-{name}", is_index=True) for name in "xy"]
    images += [image("a"), image("b"), image(SUBJECT, "pr-3"), image("s", signature_tags(SUBJECT)[0])]
    made = plan(ALL, images, children={"y": ["b"]}, unread={"x"})
    assert going(made) == f"{SUBJECT}y"
    assert made.kept == dict.fromkeys("xabs", "UnreadableIndex")


@pytest.mark.parametrize("tags", [(), ("v1",)])
def test_an_archived_image_stays(tags: tuple[str, ...]) -> None:
    """Whether it is selected by itself or would go along with something; so does what belongs to it."""
    images = [image("x", "v1", is_index=True), image("a", *tags, status="ARCHIVED"), image("s", subject="a")]
    made = plan(tagged("v*"), images, children={"x": ["a"]})
    assert (going(made), made.kept) == ("x", {"a": "Archived", "s": "StillUsed"})


def test_images_in_a_circle_stay() -> None:
    """There should be none; if there were, nothing would go that something refers to."""
    made = plan(ALL, [image("a", subject="b"), image("b", subject="a"), image("c")])
    assert (going(made), made.kept) == ("c", {"a": "StillUsed", "b": "StillUsed"})


# Signatures that name their subject by their tag.


@pytest.mark.parametrize("tag", signature_tags(SUBJECT))
def test_a_signature_by_tag_goes_with_its_subject(tag: str) -> None:
    """Signature, attestation, SBOM and OCI fallback: none is matched or counted by itself."""
    images = [image(SUBJECT, "v1", days=9), image(OTHER, "v2", days=8), image("s", tag, days=0)]
    made = plan(Selection("any", count_type="imageCountMoreThan", count_number=1), images)
    assert [[found.digest for found in level] for level in made.levels] == [[SUBJECT], ["s"]]
    assert (made.kept, set(made.followers)) == ({OTHER: "MostRecent"}, {"s"})


def test_a_signature_by_tag_can_be_protected() -> None:
    """A pattern of protected tags holds for it as well, though its subject goes."""
    images = [image(SUBJECT, "v1"), image("s", signature_tags(SUBJECT)[1])]
    assert plan(tagged("v*"), images, protected="*.sig").kept == {"s": "ProtectedTag"}


# What an earlier try has left behind.


def test_what_is_remembered_goes_though_nothing_names_it_any_more() -> None:
    """It matches nothing, and by its push it would be among the most recent; what belongs to it goes along too."""
    images = [image("a", days=3), image("s", signature_tags(SUBJECT)[1], days=0), image("t", days=0, subject="a")]
    images += [image("y", "v2", days=2), image("z", "v3", days=1)]
    meant = Selection("any", count_type="imageCountMoreThan", count_number=2)
    made = plan(meant, images, remembered={"a", "s", "gone"})
    assert (going(made), made.kept) == ("ast", {"y": "MostRecent", "z": "MostRecent"})


def test_what_is_remembered_stays_where_something_needs_it_by_now() -> None:
    """It follows what names it, or is judged by a tag of its own, or is archived."""
    images = [
        image("a"),
        image("b", "rescued"),
        image("c"),
        image("d", status="ARCHIVED"),
        image("y", "main", is_index=True),
    ]
    made = plan(tagged("v1"), images, children={"y": ["a"]}, remembered={"a", "b", "c", "d"})
    assert going(made) == "c"
    assert made.kept == {"a": "StillUsed", "b": "NotMatched", "d": "Archived", "y": "NotMatched"}


# What is too much.


@pytest.mark.parametrize(
    ("selected", "total", "percent", "fits"),
    [
        (0, 0, 50, True),
        (0, 5, 1, True),
        (1, 2, 50, True),
        (2, 3, 50, False),
        (51, 100, 50, False),
        (1, 100, 1, True),
        (2, 100, 1, False),
        (1, 99, 1, False),
        (3, 3, 99, False),
        (3, 3, 100, True),
    ],
)
def test_the_share_of_a_repository_is_exact(selected: int, total: int, percent: int, fits: bool) -> None:  # noqa: FBT001
    """Up to so many percent of all that is listed; the refusal says how to allow more."""
    made = plan(
        tagged("v*"),
        [image(f"s{n}", "v1") for n in range(selected)] + [image(f"o{n}") for n in range(total - selected)],
    )
    refusal = made.over_limits(Admission(1_000, percent, total))
    message = (
        f"request.selection means {selected} of the repository's {total} images, more than the {percent} % that it may "
        "delete; narrow it, or set the stack's MaxPercentOfRepository"
    )
    assert refusal == (None if fits else message)


def test_the_cap_counts_what_goes_along() -> None:
    """Not what is kept, nor what only matches; the refusal names the parameter."""
    images = [image("x", "v1", is_index=True), *(image(f"p{n}") for n in range(1_233)), image("y", "v2", days=1)]
    made = plan(tagged("v*", keep_most_recent=1), images, children={"x": [f"p{n}" for n in range(1_233)]})
    assert made.over_limits(Admission(1_234, 100, len(images))) is None
    assert made.over_limits(Admission(1_233, 1, len(images))) == (
        "request.selection means 1,234 images, and a request may delete 1,233; narrow it, or set the stack's "
        "MaxImagesPerRequest"
    )
