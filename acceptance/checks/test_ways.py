"""A request of each kind arrives in all five ways, and happens once however often it arrives."""

import pytest

from acceptance import kinds, ways
from acceptance.stack import lacking
from acceptance.world import World

SCHEDULED_SECONDS = 240
"""Scheduler sends within a minute of the time that is given, which is a minute ahead."""

each_way = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.needs(*parameters)) for way, parameters in ways.NEEDS.items()]
)


@each_way
def test_each_kind_arrives(world: World, way: str) -> None:
    """Exactly the images that each request means are gone, or archived."""
    cases = {
        kind: prepare(world, f"{way}/{kind}")
        for kind, prepare in kinds.KINDS.items()
        if not any(lacking(name, world.stack.parameters, world.run.prefix) for name in kinds.NEEDS.get(kind, ()))
    }
    for kind, case in cases.items():
        world.send.by(way)(kinds.request_of(case, world.run.request_id(f"{way}/{kind}")))
    for kind, case in cases.items():
        world.until(case.is_done, f"{kind} request by {way}, carried out", SCHEDULED_SECONDS)
    world.pause()
    for kind, case in cases.items():
        assert case.repository.images() == case.left, kind


@each_way
def test_a_duplicate_repeats_nothing(world: World, name: str, way: str) -> None:
    """A tag that was pushed again after the first time stays, and whoever asks by hand hears of the first time."""
    case = kinds.named(world, name)
    request = kinds.request_of(case, world.run.request_id(name))
    before = {tag: digest for digest, (tag,) in case.repository.images()}
    world.send.by(way)(request)
    world.until(case.is_done, f"request by {way}, carried out", SCHEDULED_SECONDS)
    case.repository.push_image(f"{name} again", "old")
    case.repository.push_image(f"{name} probe", "probe")
    probe = {**request, "requestId": world.run.request_id(f"{name}/probe"), "imageIds": ["imageTag=probe"]}

    world.send.by(way)(request)
    world.send.by(way)(probe)

    world.until(lambda: "probe" not in case.repository.tags(), f"request behind it, by {way}", SCHEDULED_SECONDS)
    world.pause()
    assert case.repository.tags() == {"kept", "old"}
    assert world.send.invoke(request)["imageIds"] == [{"imageTag": "old", "imageDigest": before["old"]}]
    assert case.repository.tags() == {"kept", "old"}
