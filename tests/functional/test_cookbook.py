"""The cookbook of docs/selections.md: each recipe, taken from there as it stands, against a repository made for it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.runtime import FakeLambdaContext
from tests.harness.outside import DAY, REPOSITORY, Outside

type Json = dict[str, Any]
type Send = Callable[[Json], Json]

SELECTIONS = Path(__file__).parent.parent.parent / "docs" / "selections.md"


def _name(title: str) -> str:
    """That of the test of a recipe."""
    return "test_" + re.sub(r"\W+", "_", title.lower())


def _cookbook() -> dict[str, Json]:
    """The recipes by the names of their tests: each heading has one block of JSON."""
    chapter = SELECTIONS.read_text().partition("## Cookbook\n")[2]
    recipes = {}
    for section in re.split(r"^### ", chapter, flags=re.MULTILINE)[1:]:
        [block] = re.findall(r"^```json\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        recipes[_name(section.partition("\n")[0])] = json.loads(block)
    return recipes


COOKBOOK = _cookbook()


@pytest.fixture
def recipe(request: pytest.FixtureRequest) -> Json:
    """The request whose heading in the cookbook is the name of this test."""
    return COOKBOOK[request.node.name]


@pytest.fixture
def send(stack: Outside) -> Send:
    """Sends a request by hand, delivers what it puts on the queue, and returns the answer."""
    function = stack.start(ALLOW_PERCENT_IN_REQUESTS="true", ALLOW_ARCHIVE="true")

    def send(request: Json) -> Json:
        answer: Json = function(request, FakeLambdaContext())
        stack.drain(function)
        return answer

    return send


def push_for_platforms(stack: Outside, *tags: str, days: float) -> set[str]:
    """Pushes an image for two platforms that is so many days old: its index has the tags; returns all digests."""
    children = [stack.push(days=days), stack.push(days=days)]
    return {*children, stack.push_index(children, *tags, days=days)}


def test_each_recipe_has_its_test() -> None:
    """There are 13, and none is without."""
    tests = {name for name in globals() if name.startswith("test_")} - {"test_each_recipe_has_its_test"}
    assert set(COOKBOOK) == tests
    assert len(COOKBOOK) == 13


def test_untagged_for_two_weeks(stack: Outside, send: Send, recipe: Json) -> None:
    """They go by their push; what has a tag stays, with its platform images and signatures, which have none."""
    gone = {stack.push(days=15), stack.push(days=99)}
    kept = {stack.push(days=13), stack.push("pr-1", days=99), *(main := push_for_platforms(stack, "main", days=99))}
    kept |= {stack.push_referrer(subject, days=99) for subject in main}

    answer = send(recipe)

    assert stack.left() == kept
    assert {i["imageDigest"] for i in answer["imageIds"]} == gone


def test_all_but_the_newest_ten_previews(stack: Outside, send: Send, recipe: Json) -> None:
    """By their push; other images neither go nor count."""
    previews = [stack.push(f"pr-{n}", days=n) for n in range(12)]
    others = {stack.push("main", days=0), stack.push("release-1.0", days=99), stack.push(days=99)}
    send(recipe)
    assert stack.left() == {*previews[:10], *others}


def test_old_previews_but_not_the_last_five(stack: Outside, send: Send, recipe: Json) -> None:
    """However old they are, five stay; what is to be kept stays besides, and all of it is in a report."""
    last = [stack.push(f"pr-{n}", days=20 + n) for n in range(5)]
    stack.push("pr-30", days=40)
    push_for_platforms(stack, "pr-31", days=41)
    kept = {*last, stack.push("pr-32", "pr-32-keep", days=99), stack.push("main", days=99), stack.push(days=99)}

    send(recipe)
    assert stack.left() == kept
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["selected"], notice.data["deleted"]) == ("report", 4, 4)
    assert notice.data["keptByReason"] == {"MostRecent": 5, "Excluded": 1, "NotMatched": 2}

    kept |= {stack.push("pr-40", days=13)}
    send(recipe)
    assert stack.left() == kept - {last[4]}  # the youngest is one of the last five, too


def test_not_pulled_for_90_days(stack: Outside, send: Send, recipe: Json) -> None:
    """Images that were never pulled count from their push; excluded ones stay, whether they are used or not."""
    kept = {stack.push("used", days=400, pulled=10), stack.push("latest", days=400, pulled=100)}
    kept |= {stack.push("new", days=89), *(stack.push(f"in-use-{n}", days=91, pulled=0) for n in range(3))}
    stack.push("forgotten", days=400, pulled=91)
    push_for_platforms(stack, "never-used", days=91)
    send(recipe)
    assert stack.left() == kept


def test_older_than_a_year_except_releases(stack: Outside, send: Send, recipe: Json) -> None:
    """With or without tags; one tag of a release is enough to stay, and what belongs to a release stays too."""
    kept = {stack.push("release-1.0", days=999), stack.push("abc", "v1.0", days=999), stack.push("main", days=364)}
    kept |= push_for_platforms(stack, "v2.0", days=999)
    stack.push("old", days=366)
    stack.push(days=999)
    push_for_platforms(stack, "older", days=700)
    send(recipe)
    assert stack.left() == kept


def test_the_last_30_images(stack: Outside, send: Send, recipe: Json) -> None:
    """An image for several platforms is one of them, and goes or stays as a whole."""
    kept = {*(stack.push(f"build-{n}", days=n) for n in range(28)), stack.push(days=28)}
    kept |= push_for_platforms(stack, "multi", days=29)
    stack.push("build-30", days=30)
    push_for_platforms(stack, "build-31", days=31)
    answer = send(recipe)
    assert stack.left() == kept
    assert answer["selected"] == answer["deleted"] == 4


def test_everything_of_a_pull_request(stack: Outside, send: Send, recipe: Json) -> None:
    """By how its tags begin, whatever their age; another one's number may begin with the same digits."""
    stack.push("pr-417-1f3c")
    stack.push("pr-417-9d20", days=30)
    kept = {stack.push("pr-4170-1f3c"), stack.push("pr-41-1f3c"), stack.push(), stack.push("main")}
    send(recipe)
    assert stack.left() == kept


def test_in_all_repositories_of_a_team(stack: Outside, send: Send, recipe: Json) -> None:
    """Each has a request of its own; those of others stay as they are."""
    stack.create("team/web", "team/deep/tool", "other/app")
    kept, strays = {}, {}
    for name in (REPOSITORY, "team/web", "team/deep/tool", "other/app"):
        kept[name] = {stack.push("main", days=99, repository=name), stack.push(days=6, repository=name)}
        strays[name] = stack.push(days=8, repository=name)
    kept["other/app"].add(strays["other/app"])

    answer = send(recipe)

    assert set(answer["repositoryNames"]) == {REPOSITORY, "team/deep/tool", "team/web"}
    assert {name: stack.left(name) for name in kept} == kept


def test_tried_out_first(stack: Outside, send: Send, recipe: Json) -> None:
    """Nothing goes, and the notice says what would; without dryRun just that goes."""
    old = {stack.push(f"nightly-{n}", days=40 + n) for n in range(2)}
    kept = {stack.push("nightly-9", days=1), stack.push("main", days=99)}

    send(recipe)
    assert stack.left() == old | kept
    [notice] = stack.notices()
    assert notice.data["type"] == "dryRun"
    assert {i["imageDigest"] for i in notice.data["imageIds"]} == old

    send({key: value for key, value in recipe.items() if key != "dryRun"})
    assert stack.left() == kept


def test_nearly_all_of_a_repository(stack: Outside, send: Send, recipe: Json) -> None:
    """More than half of it is refused, unless the request says that it may be."""
    push_for_platforms(stack, "v1", days=3)
    stack.push(days=2)
    last = stack.push("v2", days=1)
    before = stack.left()
    with pytest.raises(Exception, match="more than the 50 % that it may delete"):
        send({key: value for key, value in recipe.items() if key != "allowPercent"})
    assert stack.left() == before
    send(recipe)
    assert stack.left() == {last}


def test_archive_instead_of_deleting(stack: Outside, send: Send, recipe: Json) -> None:
    """Nothing goes; old previews cannot be pulled any more, and are not archived again."""
    old = push_for_platforms(stack, "pr-1", days=15)
    kept = {stack.push("pr-2", days=13), stack.push("main", days=99), *(stack.push(days=99) for _ in range(2))}
    assert send(recipe)["archivedCount"] == 3
    assert (stack.archived(), stack.left()) == (old, old | kept)
    assert send(recipe)["archivedCount"] == 0


def test_delete_what_has_been_archived_for_30_days(stack: Outside, send: Send, recipe: Json) -> None:
    """After the recipe before it: what was restored meanwhile stays, and so does what is not that long there."""
    restored, gone = stack.push("pr-1", days=20), stack.push("pr-2", days=20)
    young = stack.push("pr-3", days=10)
    kept = {stack.push(f"v{n}", days=200) for n in range(3)}
    archive = COOKBOOK["test_archive_instead_of_deleting"]
    send(archive)
    assert stack.archived() == {restored, gone}
    stack.let_time_pass(6 * DAY)
    send(archive)
    stack.change_storage_class(restored, "STANDARD")
    stack.let_time_pass(25 * DAY)
    send(recipe)
    assert (stack.left(), stack.archived()) == ({restored, young, *kept}, {young})
    assert gone not in stack.left()


def test_old_tags_but_not_their_images(stack: Outside, send: Send, recipe: Json) -> None:
    """Each image keeps another tag, or one of them; young ones keep all."""
    stack.push("build-1", "v1", days=40)
    stack.push("build-2", "build-3", days=40)
    stack.push("build-4", "v2", days=3)
    for n in range(3):
        stack.push(f"v9.{n}", days=99)
    before = stack.left()
    send(recipe)
    assert (stack.left(), stack.tags()) == (before, {"v1", "build-3", "build-4", "v2", "v9.0", "v9.1", "v9.2"})
