"""The cookbook of README.md: each recipe, taken from there as it stands, against a repository made for it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.aws import EmbeddedAWS
from local.images import push_image, push_index, push_referrer
from local.poller import FakeLambdaContext, Handler, Poller

type Json = dict[str, Any]
type Push = Callable[..., str]

README = Path(__file__).parent.parent.parent / "README.md"
REPOSITORY = "team/app"


def _name(title: str) -> str:
    """That of the test of a recipe."""
    return "test_" + re.sub(r"\W+", "_", title.lower())


def _cookbook() -> dict[str, Json]:
    """The recipes by the names of their tests: each heading has one block of JSON."""
    [chapter] = re.findall(r"^### Cookbook\n(.*?)^##? ", README.read_text(), re.DOTALL | re.MULTILINE)
    recipes = {}
    for section in re.split(r"^#### ", chapter, flags=re.MULTILINE)[1:]:
        [block] = re.findall(r"^```json\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        recipes[_name(section.partition("\n")[0])] = json.loads(block)
    return recipes


COOKBOOK = _cookbook()


@pytest.fixture
def recipe(request: pytest.FixtureRequest) -> Json:
    """The request whose heading in the cookbook is the name of this test."""
    return COOKBOOK[request.node.name]


@pytest.fixture
def push(aws: EmbeddedAWS) -> Push:
    """Pushes an image with these tags that is so many days old, and was pulled so many days ago."""
    ecr = aws.client("ecr")
    ecr.create_repository(repositoryName=REPOSITORY)

    def push(*tags: str, days: float = 0, pulled: float | None = None, repository: str = REPOSITORY) -> str:
        digest = push_image(ecr, repository, tags=tags)
        aws.age(repository, digest, days=days, pulled=pulled)
        return digest

    return push


@pytest.fixture
def push_for_platforms(aws: EmbeddedAWS, push: Push) -> Callable[..., set[str]]:
    """Pushes an image for two platforms that is so many days old: its index has the tags; returns all digests."""

    def push_for_platforms(*tags: str, days: float = 0) -> set[str]:
        children = [push(days=days), push(days=days)]
        index = push_index(aws.client("ecr"), REPOSITORY, children, tags=tags)
        aws.age(REPOSITORY, index, days=days)
        return {index, *children}

    return push_for_platforms


@pytest.fixture
def send(function: Handler, poller: Poller) -> Callable[[Json], Json]:
    """Sends a request by hand, carries out what it puts on the queue, and returns the answer."""

    def send(request: Json) -> Json:
        answer: Json = function(request, FakeLambdaContext())
        poller.drain()
        return answer

    return send


def left(aws: EmbeddedAWS, repository: str = REPOSITORY) -> set[str]:
    """The digests that a repository still has."""
    return {digest for digest, _ in aws.images(repository)}


def test_each_recipe_has_its_test() -> None:
    """There are ten, and none is without."""
    tests = {name for name in globals() if name.startswith("test_")} - {"test_each_recipe_has_its_test"}
    assert set(COOKBOOK) == tests
    assert len(COOKBOOK) == 10


def test_untagged_for_two_weeks(aws: EmbeddedAWS, push: Push, push_for_platforms: Any, send: Any, recipe: Json) -> None:
    """They go by their push; what has a tag stays, with its platform images and signatures, which have none."""
    gone = {push(days=15), push(days=99)}
    kept = {push(days=13), push("pr-1", days=99), *(main := push_for_platforms("main", days=99))}
    for subject in sorted(main):
        kept.add(signature := push_referrer(aws.client("ecr"), REPOSITORY, subject))
        aws.age(REPOSITORY, signature, days=99)

    answer = send(recipe)

    assert left(aws) == kept
    assert {i["imageDigest"] for i in answer["imageIds"]} == gone


def test_all_but_the_newest_ten_previews(aws: EmbeddedAWS, push: Push, send: Any, recipe: Json) -> None:
    """By their push; other images neither go nor count."""
    previews = [push(f"pr-{n}", days=n) for n in range(12)]
    others = {push("main", days=0), push("release-1.0", days=99), push(days=99)}
    send(recipe)
    assert left(aws) == {*previews[:10], *others}


def test_old_previews_but_not_the_last_five(
    aws: EmbeddedAWS, push: Push, push_for_platforms: Any, send: Any, recipe: Json
) -> None:
    """However old they are, five stay; what is to be kept stays besides, and a report tells of all of it."""
    last = [push(f"pr-{n}", days=20 + n) for n in range(5)]
    push("pr-30", days=40)
    push_for_platforms("pr-31", days=41)
    kept = {*last, push("pr-32", "pr-32-keep", days=99), push("main", days=99), push(days=99)}

    send(recipe)
    assert left(aws) == kept
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["selected"], notice.data["deleted"]) == ("report", 4, 4)
    assert notice.data["keptByReason"] == {"MostRecent": 5, "Excluded": 1, "NotMatched": 2}

    kept |= {push("pr-40", days=13)}
    send(recipe)
    assert left(aws) == kept - {last[4]}  # the youngest is one of the last five, too


def test_not_pulled_for_90_days(aws: EmbeddedAWS, push: Push, push_for_platforms: Any, send: Any, recipe: Json) -> None:
    """What was never pulled counts from its push; what is excluded stays, whether it is used or not."""
    kept = {push("used", days=400, pulled=10), push("new", days=89), push("latest", days=400, pulled=100)}
    push("forgotten", days=400, pulled=91)
    push_for_platforms("never-used", days=91)
    kept |= {push(f"in-use-{n}", days=91, pulled=0) for n in range(3)}
    send(recipe)
    assert left(aws) == kept


def test_older_than_a_year_except_releases(
    aws: EmbeddedAWS, push: Push, push_for_platforms: Any, send: Any, recipe: Json
) -> None:
    """With or without tags; one tag of a release is enough to stay, and what belongs to a release stays too."""
    kept = {push("release-1.0", days=999), push("abc", "v1.0", days=999), push("main", days=364)}
    kept |= push_for_platforms("v2.0", days=999)
    push("old", days=366)
    push(days=999)
    push_for_platforms("older", days=700)
    send(recipe)
    assert left(aws) == kept


def test_the_last_30_images(aws: EmbeddedAWS, push: Push, push_for_platforms: Any, send: Any, recipe: Json) -> None:
    """An image for several platforms is one of them, and goes or stays as a whole."""
    kept = {push(f"build-{n}", days=n) for n in range(28)} | {push(days=28)} | push_for_platforms("multi", days=29)
    push("build-30", days=30)
    push_for_platforms("build-31", days=31)
    answer = send(recipe)
    assert left(aws) == kept
    assert answer["selected"] == answer["deleted"] == 4


def test_everything_of_a_pull_request(aws: EmbeddedAWS, push: Push, send: Any, recipe: Json) -> None:
    """By how its tags begin, whatever their age; another one's number may begin with the same digits."""
    push("pr-417-1f3c")
    push("pr-417-9d20", days=30)
    kept = {push("pr-4170-1f3c"), push("pr-41-1f3c"), push(), push("main")}
    send(recipe)
    assert left(aws) == kept


def test_in_all_repositories_of_a_team(aws: EmbeddedAWS, push: Push, send: Any, recipe: Json) -> None:
    """Each has a request of its own; those of others stay as they are."""
    ecr = aws.client("ecr")
    kept, strays = {}, {}
    for repository in (REPOSITORY, "team/web", "team/deep/tool", "other/app"):
        if repository != REPOSITORY:
            ecr.create_repository(repositoryName=repository)
        kept[repository] = {push("main", days=99, repository=repository), push(days=6, repository=repository)}
        strays[repository] = push(days=8, repository=repository)
    kept["other/app"].add(strays["other/app"])

    answer = send(recipe)

    assert set(answer["repositoryNames"]) == {REPOSITORY, "team/deep/tool", "team/web"}
    assert {repository: left(aws, repository) for repository in kept} == kept


def test_tried_out_first(aws: EmbeddedAWS, push: Push, send: Any, recipe: Json) -> None:
    """Nothing goes, and the notice tells what would; without dryRun just that goes."""
    old = {push(f"nightly-{n}", days=40 + n) for n in range(2)}
    kept = {push("nightly-9", days=1), push("main", days=99)}

    send(recipe)
    assert left(aws) == old | kept
    [notice] = aws.notices()
    assert notice.data["type"] == "dryRun"
    assert {i["imageDigest"] for i in notice.data["imageIds"]} == old

    send({key: value for key, value in recipe.items() if key != "dryRun"})
    assert left(aws) == kept


def test_nearly_all_of_a_repository(
    aws: EmbeddedAWS, push: Push, push_for_platforms: Any, send: Any, recipe: Json
) -> None:
    """More than half of it is refused, unless the request says that it may be."""
    push_for_platforms("v1", days=3)
    push(days=2)
    last = push("v2", days=1)
    before = left(aws)
    with pytest.raises(Exception, match="more than the 50 % that it may take"):
        send({key: value for key, value in recipe.items() if key != "allowPercent"})
    assert left(aws) == before
    send(recipe)
    assert left(aws) == {last}
