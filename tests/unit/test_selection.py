"""Which images a selection means, in the sense of ECR's lifecycle policies, why all others stay, and taking them."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import replace
from typing import Any

import pytest

from handler import guards, selection
from handler.models import (
    ChunkOutcome,
    ImageFailure,
    ImageId,
    ListedImage,
    LostAnswerError,
    NotNowError,
    OutOfTimeError,
    RejectedRequestError,
    Selection,
    SelectionOutcome,
)
from handler.selection.choice import Choice

DAY = 86_400
NOW = 20_000 * DAY + 0.5
LOG = logging.LoggerAdapter(logging.getLogger("test"), {}, merge_extra=True)
ALL = Selection("any", keep_most_recent=0)


def image(digest: str, *tags: str, days: float = 30, **more: Any) -> ListedImage:
    """An image that was pushed so many days ago."""
    listed = ListedImage(
        digest=digest,
        tags=tags,
        pushed=NOW - days * DAY,
        pulled=None,
        size=100,
        is_index=False,
        subject=None,
        active=True,
    )
    return replace(listed, **more)


def tagged(*patterns: str, **more: Any) -> Selection:
    """A selection of what has a tag for each pattern."""
    return Selection("tagged", patterns, **more)


def choice(
    meant: Selection,
    images: Sequence[ListedImage],
    *,
    children: Mapping[str, Sequence[str]] | None = None,
    unread: Collection[str] = (),
    protected: str = "",
) -> Choice:
    """What a selection means, where one pattern of tags is protected."""
    rules = guards.Rules((protected,) if protected else ())
    named: dict[str, Sequence[str] | None] = {**(children or {}), **dict.fromkeys(unread)}
    return selection.choose(meant, images, named, lambda tags: guards.protects(rules, tags), NOW)


def digests(images: Iterable[ListedImage]) -> list[str]:
    """Their names."""
    return [image.digest for image in images]


def gone(made: Choice) -> str:
    """The digests of what goes, each a letter, in their order of the alphabet."""
    return "".join(sorted(digest for level in made.levels for digest in digests(level)))


# Which images match.

STATUS = {"a": ("v1",), "b": (), "c": ("v2", "w"), "d": ()}


@pytest.mark.parametrize(("status", "expected"), [("tagged", "ac"), ("untagged", "bd"), ("any", "abcd")])
def test_the_tag_status(status: str, expected: str) -> None:
    """Images with tags, those without, or both; why the others stay is told."""
    meant = Selection(status, ("*",) if status == "tagged" else ())
    made = choice(meant, [image(digest, *tags) for digest, tags in STATUS.items()])
    assert gone(made) == expected
    assert made.kept == dict.fromkeys(STATUS.keys() - set(expected), "NotMatched")


PATTERNS: list[tuple[tuple[str, ...], tuple[str, ...], bool]] = [
    (("prod",), ("prod",), True),
    (("prod",), ("prod-1",), False),
    (("prod",), ("my-prod",), False),
    (("prod*",), ("prod",), True),
    (("prod*",), ("prod-1",), True),
    (("prod*",), ("my-prod",), False),
    (("*prod",), ("my-prod",), True),
    (("*prod*",), ("a-prod-b",), True),
    (("a*b*c",), ("a1b2c",), True),
    (("a*b*c",), ("acb",), False),
    (("*",), ("anything",), True),
    (("*",), (), False),
    (("pr-*",), ("main", "pr-1"), True),
    (("pr-*", "*-arm"), ("pr-1-arm",), True),
    (("pr-*", "*-arm"), ("pr-1", "x-arm"), True),
    (("pr-*", "*-arm"), ("pr-1",), False),
    (("PROD*",), ("prod",), False),
    (("v1.0",), ("v1x0",), False),
    (("v-_.*",), ("v-_.1",), True),
]


@pytest.mark.parametrize(("patterns", "tags", "matched"), PATTERNS)
def test_patterns_of_tags(patterns: tuple[str, ...], tags: tuple[str, ...], matched: bool) -> None:  # noqa: FBT001
    """As in a lifecycle policy: a star is any characters or none, case counts, and each pattern needs a tag."""
    assert gone(choice(tagged(*patterns), [image("a", *tags)])) == ("a" if matched else "")


def test_what_is_excluded_stays_whatever_else_it_matches() -> None:
    """One tag for one of the patterns is enough, beside tags that are meant."""
    meant = tagged("pr-*", exclude_tag_patterns=("*-keep", "main"))
    made = choice(meant, [image("a", "pr-1"), image("b", "pr-2", "pr-2-keep"), image("c", "pr-3", "main")])
    assert gone(made) == "a"
    assert made.reasons == {"Excluded": 2}


def test_what_is_excluded_does_not_count_among_the_newest() -> None:
    """Those that are left by count are left of what is meant."""
    meant = Selection("any", exclude_tag_patterns=("main",), count_type="imageCountMoreThan", count_number=1)
    made = choice(meant, [image("a", "main", days=0), image("b", "v1", days=1), image("c", "v2", days=2)])
    assert made.kept == {"a": "Excluded", "b": "MostRecent"}


def test_an_archived_image_stays() -> None:
    """To take it out of the archive's minimum time is not for a selection."""
    assert choice(ALL, [image("a", active=False)]).kept == {"a": "Archived"}


def test_a_protected_image_stays_and_takes_its_place_among_the_newest() -> None:
    """Whatever its other tags; it is counted like any that matches."""
    images = [image("a", "pr-1", "prod", days=1), image("b", "pr-2", days=2), image("c", "pr-3", days=3)]
    made = choice(tagged("pr-*", keep_most_recent=2), images, protected="prod")
    assert made.kept == {"a": "ProtectedTag", "b": "MostRecent"}


# Which of those are old enough.


@pytest.mark.parametrize(
    ("days", "goes"), [(13, False), (14, False), (14.001, True), (15, True), (-1, False), (20_000, True)]
)
def test_since_it_was_pushed(days: float, goes: bool) -> None:  # noqa: FBT001
    """More than so many days ago; a push in the future is no age at all."""
    meant = Selection("any", count_type="sinceImagePushed", count_number=14)
    made = choice(meant, [image("a", days=days, pulled=NOW)])
    assert made.kept == ({} if goes else {"a": "TooRecent"})


@pytest.mark.parametrize(
    ("pushed", "pulled", "goes"),
    [
        (200, 100, True),
        (200, 90, False),
        (200, 10, False),
        (200, None, True),
        (90, None, False),
        (10, None, False),
        (10, 100, False),  # pushed again since
    ],
)
def test_since_it_was_pulled(pushed: float, pulled: float | None, goes: bool) -> None:  # noqa: FBT001
    """The last pull counts, or the push: where there was no pull, or none since."""
    meant = Selection("any", count_type="sinceImagePulled", count_number=90)
    listed = image("a", days=pushed, pulled=None if pulled is None else NOW - pulled * DAY)
    assert choice(meant, [listed]).kept == ({} if goes else {"a": "TooRecent"})


@pytest.mark.parametrize(("count", "expected"), [(1, "acd"), (2, "ad"), (3, "a"), (4, ""), (100_000, "")])
def test_more_than_so_many(count: int, expected: str) -> None:
    """All but the last pushed, in whatever order they are listed."""
    images = [image("a", days=4), image("b", days=1), image("c", days=2), image("d", days=3)]
    made = choice(Selection("any", count_type="imageCountMoreThan", count_number=count), images)
    assert gone(made) == expected
    assert set(made.kept.values()) <= {"MostRecent"}


def test_the_most_recent_stay_however_old() -> None:
    """Beside an age; the others of its age go, and what does not match counts for nothing."""
    meant = tagged("pr-*", count_type="sinceImagePushed", count_number=14, keep_most_recent=2)
    images = [image("a", "pr-1", days=20), image("b", "pr-2", days=21), image("c", "pr-3", days=22), image("d", "x")]
    assert choice(meant, images).kept == {"a": "MostRecent", "b": "MostRecent", "d": "NotMatched"}


@pytest.mark.parametrize(("keep", "count", "expected"), [(1, 2, "c"), (2, 1, "c"), (3, 1, "")])
def test_of_two_counts_the_larger_holds(keep: int, count: int, expected: str) -> None:
    """What keepMostRecent leaves, or what imageCountMoreThan does."""
    meant = Selection("any", count_type="imageCountMoreThan", count_number=count, keep_most_recent=keep)
    assert gone(choice(meant, [image("a", days=1), image("b", days=2), image("c", days=3)])) == expected


def test_those_pushed_at_the_same_time_are_told_apart_by_digest() -> None:
    """So that the same ones stay, in whatever order ECR lists them: a redelivery must not take the others."""
    images = [image(digest, days=1) for digest in "dbca"]
    meant = Selection("any", count_type="imageCountMoreThan", count_number=2)
    assert gone(choice(meant, images)) == gone(choice(meant, images[::-1])) == "cd"


def test_platform_images_are_no_images_to_count() -> None:
    """What an index names, and has no tag, is part of it: the newest two are two indexes."""
    images = [image(digest, f"v-{digest}", days=n, is_index=True) for n, digest in enumerate("xyz")]
    images += [image(digest) for digest in "abc"]
    meant = Selection("any", count_type="imageCountMoreThan", count_number=2)
    made = choice(meant, images, children={"x": ["a"], "y": ["b"], "z": ["c"]})
    assert gone(made) == "cz"
    assert made.reasons == {"MostRecent": 2, "StillUsed": 2}


# Images as wholes.


def test_an_index_goes_before_what_it_names() -> None:
    """Level by level, outside in, for ECR refuses what a present index names; referrers follow their subject."""
    images = [
        *(image("p"), image("q")),
        *(image("i", is_index=True), image("o", "v1", is_index=True)),
        *(image("s", subject="o"), image("t", subject="s")),
    ]
    made = choice(tagged("v*"), images, children={"o": ["i", "p"], "i": ["q", "p"]})
    assert [set(digests(level)) for level in made.levels] == [{"o"}, {"i", "s"}, {"p", "q", "t"}]
    assert made.selected == 6


@pytest.mark.parametrize("of_kept", ["x", "y"])
def test_what_a_kept_index_names_stays(of_kept: str) -> None:
    """Also where another index that names it goes, and however many levels lie between."""
    images = [
        image("x", "main", is_index=True),
        image("y", is_index=True),
        image("z", "pr-1", is_index=True),
        image("a"),
    ]
    made = choice(tagged("pr-*"), images, children={"x": ["y"], "z": ["a"], of_kept: ["a"] + ["y"] * (of_kept == "x")})
    assert gone(made) == "z"
    assert made.kept == {"x": "NotMatched", "y": "StillUsed", "a": "StillUsed"}


def test_an_old_untagged_part_of_a_kept_image_is_no_stray() -> None:
    """A selection of untagged images takes what belongs to nothing alone: no platform image, and no signature."""
    images = [image("x", "main", is_index=True), *(image(d) for d in "ab"), image("s", subject="x"), image("c")]
    assert gone(choice(Selection("untagged"), images, children={"x": ["a", "b"]})) == "c"


def test_a_part_with_a_tag_of_its_own_is_judged_by_itself() -> None:
    """It stays where it is not meant though its index goes, and where its index stays though it is meant."""
    images = [
        image("x", "pr-1", is_index=True),
        image("a", "amd64"),
        image("y", "main", is_index=True),
        image("b", "pr-2"),
    ]
    made = choice(tagged("pr-*"), images, children={"x": ["a"], "y": ["b"]})
    assert (gone(made), made.kept) == ("x", {"a": "NotMatched", "y": "NotMatched", "b": "StillUsed"})


@pytest.mark.parametrize(("kept_tag", "reason"), [("keep", "Excluded"), ("prod", "ProtectedTag")])
def test_a_part_that_must_stay_does(kept_tag: str, reason: str) -> None:
    """Its index goes, and what it names itself stays with it."""
    images = [image("x", "pr-1", is_index=True), image("y", kept_tag, "pr-2", is_index=True), image("a")]
    meant = tagged("pr-*", exclude_tag_patterns=("keep",))
    made = choice(meant, images, children={"x": ["y"], "y": ["a"]}, protected="prod")
    assert (gone(made), made.kept) == ("x", {"y": reason, "a": "StillUsed"})


def test_what_an_index_names_may_be_missing() -> None:
    """It is not there, so it is neither selected nor kept; a signature of what is gone is an image like any other."""
    images = [image("x", "pr-1", is_index=True), image("s", subject="gone")]
    made = choice(tagged("pr-*"), images, children={"x": ["gone", "gone"]})
    assert (gone(made), made.kept) == ("x", {"s": "NotMatched"})
    assert gone(choice(Selection("untagged"), images, children={"x": ["gone"]})) == "s"


def test_where_an_index_cannot_be_read_no_untagged_image_goes() -> None:
    """Any of them may be part of it; with tags, all but the index itself go as meant."""
    images = [
        image("x", "pr-1", is_index=True),
        image("y", "pr-2", is_index=True),
        image("a"),
        image("b"),
        image("c", "pr-3"),
    ]
    made = choice(Selection("any"), images, children={"y": ["b"]}, unread={"x"})
    assert gone(made) == "cy"
    assert made.kept == dict.fromkeys("xab", "UnreadableIndex")


def test_images_in_a_circle_stay() -> None:
    """There can be none, and if there were, nothing would go that something refers to."""
    images = [image("a", subject="b"), image("b", subject="a"), image("c")]
    made = choice(ALL, images)
    assert (gone(made), made.kept) == ("c", {"a": "StillUsed", "b": "StillUsed"})


# Taking them.


class Death(Exception):  # noqa: N818  # what happens, not what code reports
    """The end of an invocation in the middle of a selection."""


class Shelf:
    """A repository that does as it is told when its images are deleted, and remembers what it was asked."""

    def __init__(
        self, images: Sequence[ListedImage], children: Mapping[str, Sequence[str] | None] | None = None
    ) -> None:
        self.images = images
        self.children = children or {}
        self.codes: dict[str, str] = {}
        """The failures of some digests."""
        self.errors: dict[int, Exception] = {}
        """What the calls of these numbers raise."""
        self.asked: list[list[str]] = []
        self.read: list[list[str]] = []
        self.remembered: dict[int, Sequence[str]] = {}

    def delete(self, chunk: Sequence[ListedImage]) -> ChunkOutcome:
        self.asked.append(digests(chunk))
        if error := self.errors.get(len(self.asked) - 1):
            raise error
        failed = [i for i in chunk if i.digest in self.codes]
        return ChunkOutcome(
            tuple(ImageId(i.digest, tag) for i in chunk if i not in failed for tag in i.tags or [None]),
            tuple(ImageFailure(ImageId(i.digest), self.codes[i.digest], "why") for i in failed),
        )

    def remember(self, number: int, digests: Sequence[str]) -> Sequence[str] | None:
        if number in self.remembered:
            return self.remembered[number]
        self.remembered[number] = digests
        return None

    def read_indexes(self, chunk: Sequence[str]) -> Mapping[str, Sequence[str] | None]:
        self.read.append(list(chunk))
        return {digest: self.children.get(digest, []) for digest in chunk}


def take(
    shelf: Shelf, meant: Selection = ALL, *, limits: tuple[int, int] = (100_000, 100), log: Any = LOG
) -> tuple[SelectionOutcome, bool]:
    """What became of a selection, and whether that is all."""
    return selection.carry_out(
        meant,
        selection.Repository(lambda: shelf.images, shelf.read_indexes, shelf.delete, shelf.remember),
        lambda work: [do() for do in work],
        lambda _: False,
        selection.Limits(*limits),
        log,
    )


def test_what_was_taken_is_told() -> None:
    """How many were selected and deleted, of how many bytes, under which names, and why the others stay."""
    shelf = Shelf([image("a", "pr-1", "x"), image("b", "pr-2", size=7), image("c", "main")])
    outcome, whole = take(shelf, tagged("pr-*"))
    assert outcome == SelectionOutcome(
        selected=2,
        deleted=2,
        bytes=107,
        kept={"NotMatched": 1},
        image_ids=(ImageId("a", "pr-1"), ImageId("a", "x"), ImageId("b", "pr-2")),
        failures=(),
    )
    assert whole


def test_images_go_a_hundred_to_a_call_and_level_by_level() -> None:
    """The calls of one level before those of the next; indexes are read a hundred to a call as well."""
    indexes = [image(f"i{n}", "v1", is_index=True) for n in range(150)]
    parts = [image(f"p{n}") for n in range(150)]
    shelf = Shelf([*parts, *indexes], {f"i{n}": [f"p{n}"] for n in range(150)})
    take(shelf, tagged("v1"))
    assert [len(chunk) for chunk in shelf.read] == [100, 50]
    assert [(chunk[0][0], len(chunk)) for chunk in shelf.asked] == [("i", 100), ("i", 50), ("p", 100), ("p", 50)]


def test_nothing_is_read_or_deleted_where_nothing_is_selected() -> None:
    """An empty repository, or one that holds nothing that matches."""
    for images in ([], [image("a")]):
        shelf = Shelf(images)
        assert take(shelf, tagged("v*"))[0].selected == 0
        assert (shelf.read, shelf.asked) == ([], [])


@pytest.mark.parametrize(
    ("code", "reason"),
    [("ImageNotFound", "AlreadyGone"), ("ImageReferencedByManifestList", "StillUsed"), ("TaggedSince", "TaggedSince")],
)
def test_what_has_changed_since_is_no_failure(code: str, reason: str) -> None:
    """It is gone already, or something needs it by now: it is kept, under a reason, and no bytes are counted."""
    shelf = Shelf([image("a"), image("b")])
    shelf.codes = {"a": code}
    outcome, whole = take(shelf)
    assert (outcome.deleted, outcome.bytes, outcome.kept, outcome.failures) == (1, 100, {reason: 1}, ())
    assert whole


def test_a_failure_is_told_under_ecrs_code() -> None:
    """Whatever else ECR says."""
    shelf = Shelf([image("a"), image("b")])
    shelf.codes = {"a": "KmsError"}
    outcome, whole = take(shelf)
    assert [(f.image_id.digest, f.code) for f in outcome.failures] == [("a", "KmsError")]
    assert (outcome.deleted, outcome.kept, whole) == (1, {}, True)


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("TaggedSince", [["x"]]),
        ("KmsError", [["x"]]),
        ("ImageReferencedByManifestList", [["x"]]),
        ("ImageNotFound", [["x"], ["a", "s"], ["t"]]),
    ],
)
def test_what_belongs_to_an_index_that_stays_is_not_asked_for(code: str, asked: list[list[str]]) -> None:
    """Whyever it stays: ECR would delete its signatures. If it is gone already, the rest goes as it was meant."""
    images = [image("x", "v1", is_index=True), image("a"), image("s", subject="x"), image("t", subject="s")]
    shelf = Shelf(images, {"x": ["a"]})
    shelf.codes = {"x": code}
    outcome, _ = take(shelf, tagged("v1"))
    assert shelf.asked == asked
    assert outcome.deleted + sum(outcome.kept.values()) + len(outcome.failures) == outcome.selected == 4
    assert outcome.kept.get("StillUsed", 0) >= 3 * (len(asked) == 1)


def test_an_index_that_cannot_be_read_is_told() -> None:
    """Under the reason of all that stays for it."""
    shelf = Shelf([image("x", "v1", is_index=True), image("y", "v2", is_index=True), image("a")], {"x": None})
    outcome, _ = take(shelf)
    assert (shelf.asked, outcome.kept) == ([["y"]], {"UnreadableIndex": 2})


STOPS = [OutOfTimeError("no time"), NotNowError("not now"), LostAnswerError("lost")]


@pytest.mark.parametrize("error", STOPS, ids=repr)
def test_where_something_came_in_between_it_tells_what_was_done(error: Exception) -> None:
    """It is not whole: there is more to do, and something was done."""
    shelf = Shelf([image(f"{n:03}") for n in range(250)])
    shelf.errors = {1: error}
    outcome, whole = take(shelf)
    assert (outcome.selected, outcome.deleted, whole) == (250, 100, False)


@pytest.mark.parametrize("error", STOPS, ids=repr)
def test_where_nothing_was_done_it_raises_what_came_in_between(error: Exception) -> None:
    """There is no going on without progress: also where all that was asked for was gone already."""
    shelf = Shelf([image(f"{n:03}") for n in range(250)])
    shelf.codes = {f"{n:03}": "ImageNotFound" for n in range(100)}
    shelf.errors = {1: error}
    with pytest.raises(type(error)):
        take(shelf)


@pytest.mark.parametrize("stage", ["list", "read"])
def test_what_cannot_be_seen_now_is_raised(stage: str) -> None:
    """Without the list, or without the indexes, nothing is deleted."""
    shelf = Shelf([image("x", "v1", is_index=True)])

    def fail(*_: object) -> Any:
        raise NotNowError("not now")

    repository = selection.Repository(
        fail if stage == "list" else lambda: shelf.images,
        fail if stage == "read" else shelf.read_indexes,
        shelf.delete,
        shelf.remember,
    )
    with pytest.raises(NotNowError):
        selection.carry_out(
            ALL, repository, lambda work: [do() for do in work], lambda _: False, selection.Limits(10, 100), LOG
        )
    assert shelf.asked == []


@pytest.mark.parametrize("error", STOPS, ids=repr)
def test_what_a_try_left_behind_goes_with_the_next(error: Exception) -> None:
    """Though nothing names it any more, it matches nothing, and by its push it would be among the newest."""
    images = [image("x", "v1", days=3, is_index=True), image("a", days=3), image("s", days=0, subject="x")]
    images += [image("y", "v2", days=2), image("z", "v3", days=1)]
    shelf = Shelf(images, {"x": ["a"]})
    shelf.errors = {1: error}
    meant = Selection("any", count_type="imageCountMoreThan", count_number=2)
    assert take(shelf, meant)[1] is False
    shelf.images = images[1:]
    outcome, whole = take(shelf, meant)
    assert (shelf.asked, whole) == ([["x"], ["a", "s"], ["a", "s"]], True)
    assert (outcome.deleted, outcome.kept) == (2, {"MostRecent": 2})


def test_what_goes_along_is_remembered_before_anything_is_taken() -> None:
    """All of it, 4,000 to a part, and nothing else: what has tags, or goes by itself, is judged anew."""
    parts = [f"p{n:04}" for n in range(4_001)]
    images = [image("x", "v1", is_index=True), image("stray"), image("tagged", "v2"), *map(image, parts)]
    shelf = Shelf(images, {"x": ["tagged", *parts]})
    shelf.errors = {0: Death()}
    with pytest.raises(Death):
        take(shelf)
    assert {n: list(some) for n, some in shelf.remembered.items()} == {0: parts[:4_000], 1: parts[4_000:]}
    shelf.images, shelf.children = [image(digest) for digest in ["stray", *parts]], {}
    outcome, _ = take(shelf, tagged("v*"))
    assert (outcome.deleted, outcome.kept) == (len(parts), {"NotMatched": 1})


def test_what_was_to_go_along_stays_where_something_needs_it_by_now() -> None:
    """It follows what names it, or is judged by its own tags."""
    images = [image("x", "v1", is_index=True), image("a"), image("b"), image("c")]
    shelf = Shelf(images, {"x": ["a", "b", "c"], "y": ["a"]})
    shelf.errors = {1: Death()}
    with pytest.raises(Death):
        take(shelf, tagged("v1"))
    shelf.images = [image("a"), image("b", "rescued"), image("c"), image("y", "main", is_index=True)]
    take(shelf, tagged("v1"))
    assert shelf.asked[2:] == [["c"]]


# What is too much.


@pytest.mark.parametrize(
    ("selected", "total", "percent", "fits"),
    [
        (0, 0, 50, True),
        (0, 5, 1, True),
        (1, 2, 50, True),
        (2, 4, 50, True),
        (2, 3, 50, False),
        (51, 100, 50, False),
        (1, 100, 1, True),
        (2, 100, 1, False),
        (1, 101, 1, True),
        (1, 99, 1, False),
        (3, 3, 99, False),
        (3, 3, 100, True),
    ],
)
def test_the_share_of_a_repository(selected: int, total: int, percent: int, fits: bool) -> None:  # noqa: FBT001
    """Up to so many percent of all that is listed, exactly; nothing is deleted where it is more."""
    shelf = Shelf([image(f"s{n}", "pr-1") for n in range(selected)] + [image(f"o{n}") for n in range(total - selected)])
    if fits:
        assert take(shelf, tagged("pr-*"), limits=(1_000, percent))[0].deleted == selected
        return
    message = rf"means {selected} of the repository's {total} images, more than the {percent} %.*\"allowPercent\": 100$"
    with pytest.raises(RejectedRequestError, match=message):
        take(shelf, tagged("pr-*"), limits=(1_000, percent))
    assert shelf.asked == []


@pytest.mark.parametrize(("images", "fits"), [(4, True), (5, False)])
def test_the_cap(images: int, fits: bool) -> None:  # noqa: FBT001
    """What goes along counts; nothing is deleted where it is more."""
    shelf = Shelf([image("x", "v1", is_index=True), *(image(f"p{n}") for n in range(images - 1))])
    shelf.children = {"x": [f"p{n}" for n in range(images - 1)]}
    if fits:
        assert take(shelf, tagged("v1"), limits=(4, 100))[0].deleted == images
        return
    with pytest.raises(
        RejectedRequestError, match=r"means 5 images, and a request may delete 4; .*MaxImagesPerRequest"
    ):
        take(shelf, tagged("v1"), limits=(4, 100))
    assert shelf.asked == []


def test_what_is_kept_does_not_count_as_taken() -> None:
    """The share is of what would go, not of what matches."""
    shelf = Shelf([image("a", "v1", days=1), image("b", "v2", days=2)])
    assert take(shelf, tagged("v*", keep_most_recent=1), limits=(1, 50))[0].deleted == 1


# What is logged.


def test_each_verdict_is_in_the_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    """Every image, by digest: what was taken, and what stays and why."""
    caplog.set_level(logging.DEBUG, "test")
    shelf = Shelf([image("a", "pr-1"), image("b", "main")])
    take(shelf, tagged("pr-*"))
    told: list[dict[str, Any]] = [vars(entry) for entry in caplog.records]
    assert [(e["imageDigest"], e["why"]) for e in told if e["msg"] == "image kept"] == [("b", "NotMatched")]
    assert [e["imageDigests"] for e in told if e["msg"] == "images selected"] == [["a"]]


def test_without_debug_no_image_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Counts are enough: a repository has up to 100,000 images."""
    caplog.set_level(logging.INFO, "test")
    take(Shelf([image("a", "pr-1"), image("b", "main")]), tagged("pr-*"))
    assert not [entry for entry in caplog.records if {"imageDigest", "imageDigests"} & vars(entry).keys()]


def test_the_stored_outcome_is_the_outcome() -> None:
    """As JSON and back; cut where it is too large, and then counted, failures last."""
    failures = tuple(ImageFailure(ImageId(f"f{n}"), "KmsError", "why") for n in range(3))
    outcome = SelectionOutcome(9, 5, 500, {"MostRecent": 4}, tuple(ImageId(f"d{n}") for n in range(5)), failures)
    assert SelectionOutcome.from_json(outcome.to_json(10_000)) == outcome
    for limit in range(400, 150, -10):
        cut = SelectionOutcome.from_json(outcome.to_json(limit))
        assert len(cut.image_ids) + cut.omitted == 5
        assert len(cut.failures) + cut.failures_omitted == 3
        assert len(cut.failures) == 3 or not cut.image_ids
        assert (cut.selected, cut.deleted, cut.bytes, cut.kept) == (9, 5, 500, {"MostRecent": 4})
