"""Whatever a request asks for, and whatever ECR answers, in any order: the function keeps its promise, and stops."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.matrix import function
from tests.faults.queue import Invoke
from tests.faults.whims import DELETED, FAILED, FINAL, GARBLED, LOST, NOT_NOW, UNTOLD, Whim, Whimsical
from tests.faults.world import ECR_LIMIT, Json, World

MOST = 12
"""Whims in a row for a chunk; each costs at most one delivery."""
TRIES = 4
"""As often as an image is asked for that ECR cannot delete at the moment."""
WORDS = {
    **dict.fromkeys(UNTOLD, "Unanswered"),
    "failed without a name": "SomethingNew",
    "failed without a code": "Unknown",
}
"""The failure codes where ECR gave none, or did not say whose it is."""

WHIMS: st.SearchStrategy[Whim] = st.one_of(
    st.lists(st.sampled_from(DELETED + UNTOLD + FAILED), min_size=1, max_size=7).map(tuple),
    st.sampled_from(NOT_NOW + FINAL + GARBLED),
    st.sampled_from([500, 502, 503, 504]),
    st.sampled_from(LOST),
)
WAYS = st.sampled_from(["tag", "digest", "both", "malformed"])


@st.composite
def image_ids(draw: st.DrawFn) -> list[Json]:
    """Images of which each is named in one way, and names that are no image's."""
    ways = draw(st.lists(WAYS, min_size=1, max_size=7))
    count = draw(st.one_of(*[st.integers(1, 12)] * 9, st.sampled_from([99, 100, 101, 205])))
    return [_image_id(n, ways[n % len(ways)]) for n in range(count)]


def _image_id(number: int, way: str) -> Json:
    tag, digest = {"imageTag": f"v-{number:06x}"}, {"imageDigest": f"sha256:{number:064x}"}
    return {"tag": tag, "digest": digest, "both": tag | digest, "malformed": {"imageTag": f"-{number:06x}"}}[way]


def name(image_id: Json) -> str:
    """What the world knows it by."""
    return str(image_id.get("imageTag") or image_id["imageDigest"])


class Stage(World):
    """Where one world takes the place of another, before the same copy of the function."""

    world = World()

    def answer(self, *call: Any) -> Any:
        return self.world.answer(*call)


@pytest.fixture(scope="module")
def stage() -> Stage:
    """What each example puts its world on."""
    return Stage()


@pytest.fixture(scope="module")
def invoke(stage: Stage) -> Iterator[Invoke]:
    """One copy of the function for all examples."""
    with function(stage) as invoke:
        yield invoke


@given(image_ids(), st.lists(WHIMS, max_size=MOST))
def test_any_request_and_any_answers(stage: Stage, invoke: Invoke, ids: list[Json], whims: list[Whim]) -> None:
    """No call of more than 100 ids, nothing asked again that is settled, each id told of once, the same when replayed.

    The world itself watches over the calls.
    """
    stage.world = world = Whimsical(whims, ids)
    request = {"requestId": "r-1", "repositoryName": "app", "imageIds": ids}
    answer = delivered(invoke, request, world)

    assert world.violations == []
    failed = {name(failure["imageId"]): failure for failure in answer["failures"]}
    assert len(failed) == len(answer["failures"])
    assert list(failed) == [name(i) for i in ids if world.fates.get(name(i), "malformed") not in DELETED]
    for key, failure in failed.items():
        fate = world.fates.get(key, "InvalidImageTag")
        if fate == "failed without a name" and len(failure["imageId"]) > 1:  # taken for that of an id with one name
            fate = "no word"
        assert failure["failureCode"] == WORDS.get(fate, fate)
    gone = {entry.get(key) for entry in answer["imageIds"] for key in ("imageTag", "imageDigest")}
    assert {name(i) for i in ids} - failed.keys() <= gone | {name(i) for i in ids if i.get("imageDigest") in gone}

    # An id is asked again after a whim that kept its call from being answered, while it is tried for a passing reason,
    # and, while something holds it, after a pass that deleted something.
    asked = Counter(name for _, names in world.asked for name in names)
    assert max(asked.values(), default=0) <= len(whims) + TRIES + (len(ids) - len(failed)) + 1

    calls = len(world.asked)
    assert delivered(invoke, request, world) == answer
    assert len(world.asked) == calls
    assert [notice["failures"] for notice in world.notices] == ([answer["failures"]] if failed else [])


def delivered(invoke: Invoke, request: Json, world: World) -> Json:
    """The answer of the first invocation that has one, tried again as Lambda does."""
    for _ in range(MOST * (1 + len(request["imageIds"]) // ECR_LIMIT)):
        try:
            return invoke(request)
        except Exception:  # noqa: BLE001  # whatever it is, it must be cured when there are no whims left
            world.let_time_pass()
    return invoke(request)
