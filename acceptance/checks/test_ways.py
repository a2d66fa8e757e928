"""A request of each kind arrives in all five ways, and happens once however often it arrives."""

import pytest

from acceptance import kinds, ways
from acceptance.kinds import Case
from acceptance.world import World

SECONDS = {"schedule": 900}
"""How long a request takes at most: a schedule is set a minute ahead, and sent within the minute after."""

WAYS = [pytest.param(way, marks=pytest.mark.needs(*parameters)) for way, parameters in ways.NEEDS.items()]
KINDS = [pytest.param(kind, marks=pytest.mark.needs(*kinds.NEEDS.get(kind, ()))) for kind in kinds.KINDS]


@pytest.fixture(scope="module")
def sent(world: World, way: str, request: pytest.FixtureRequest) -> dict[str, Case]:
    """One request of each kind that is checked, all sent in one way, one after the other."""
    checked = [
        str(item.callspec.params["kind"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_each_kind_arrives.__name__
        if item.callspec.params["way"] == way and not item.get_closest_marker("skip")
    ]
    cases = {kind: kinds.KINDS[kind](world, f"{way}/{kind}") for kind in checked}
    for kind, case in cases.items():
        world.send.by(way)(kinds.request_of(case, world.run.request_id(f"{way}/{kind}")))
    return cases


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS, scope="module")
def test_each_kind_arrives(world: World, sent: dict[str, Case], way: str, kind: str) -> None:
    """Exactly the images that the request means are gone, or archived."""
    case = sent[kind]
    world.until(case.is_done, f"{kind} request by {way}, carried out", SECONDS.get(way, 120))
    if kind == [*sent][-1]:
        world.pause()
    assert case.repository.images() == case.left
    assert case.is_done()


@pytest.mark.parametrize("way", WAYS)
def test_a_duplicate_repeats_nothing(world: World, name: str, way: str) -> None:
    """A tag that was pushed again after the first time stays, and whoever asks by hand hears of the first time."""
    case = kinds.named(world, name)
    request = kinds.request_of(case, world.run.request_id(name))
    before = {tag: digest for digest, (tag,) in case.repository.images()}
    world.send.by(way)(request)
    seconds = SECONDS.get(way, 120)
    world.until(case.is_done, f"request by {way}, carried out", seconds)
    case.repository.push_image(f"{name} again", "old")
    case.repository.push_image(f"{name} probe", "probe")
    probe = {**request, "requestId": world.run.request_id(f"{name}/probe"), "imageIds": ["imageTag=probe"]}

    world.send.by(way)(request)
    world.send.by(way)(probe)

    world.until(lambda: "probe" not in case.repository.tags(), f"request behind it, by {way}", seconds)
    world.pause()
    assert case.repository.tags() == {"kept", "old"}
    assert world.send.invoke(request)["imageIds"] == [{"imageTag": "old", "imageDigest": before["old"]}]
    assert case.repository.tags() == {"kept", "old"}
