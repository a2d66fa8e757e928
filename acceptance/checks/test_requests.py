"""Kinds of request that need more than a look at the images that are left."""

import pytest

from acceptance import kinds
from acceptance.repositories import Repository
from acceptance.ways import FunctionError
from acceptance.world import World


@pytest.mark.needs("GracePeriodDays", "MaxPercentOfRepository")
@pytest.mark.parametrize("kind", ["named", "selected", "untagged", "cascaded"])
def test_a_dry_run_deletes_nothing(world: World, name: str, kind: str) -> None:
    """It answers what would be deleted, which the same request without it then deletes."""
    case = kinds.KINDS[kind](world, name)
    before = case.repository.images()
    dry = kinds.request_of(case, world.run.request_id(f"{name}/dry")) | {"dryRun": True}

    foreseen = world.invoke(dry)

    assert foreseen["dryRun"] is True
    assert case.repository.images() == before
    done = world.invoke(kinds.request_of(case, world.run.request_id(name)))
    assert case.repository.images() == case.left
    ids = [sorted(map(str, (sorted(one.items()) for one in answer["imageIds"]))) for answer in (foreseen, done)]
    assert ids[0] == ids[1]
    assert foreseen["failures"] == done["failures"] == []


def test_an_index_and_what_it_names_in_one_request(world: World, name: str, repository: Repository) -> None:
    """In any order: what was refused because of the index is asked for again."""
    outer, inner, image = repository.push_nested(name, "nested")
    answer = world.invoke({
        "repositoryName": repository.name,
        "imageIds": [{"imageDigest": manifest.digest} for manifest in (image, inner, outer)],
        "requestId": world.run.request_id(name),
    })  # fmt: skip
    assert repository.images() == set()
    assert answer["failures"] == []
    assert len(answer["imageIds"]) == 3


def test_a_nested_index_goes_whole(world: World, name: str, repository: Repository) -> None:
    """With cascade, an index of an index goes with everything under it, and an image of another index stays."""
    repository.push_nested(name, "nested")
    other = repository.push_image(f"{name} other", "other")
    world.invoke({
        "repositoryName": repository.name,
        "imageIds": ["imageTag=nested"],
        "cascade": True,
        "requestId": world.run.request_id(name),
    })  # fmt: skip
    assert repository.images() == {(other, ("other",))}


@pytest.mark.needs("GracePeriodDays", "MaxPercentOfRepository")
def test_a_selection_says_why_everything_else_stays(world: World, name: str) -> None:
    """The answer counts what was selected, and each image that stays under a reason."""
    case = kinds.selected(world, name)
    answer = world.invoke(kinds.request_of(case, world.run.request_id(name)))
    assert (answer["selected"], answer["deleted"]) == (1, 1)
    assert answer["keptByReason"] == {"Excluded": 1, "NotMatched": 1}
    assert case.repository.images() == case.left


def test_a_request_for_several_repositories(world: World, name: str) -> None:
    """It is carried out in each that the pattern means, in no other, and one summary tells of all of them."""
    cases = [kinds.named(world, f"{name}/{number}") for number in range(3)]
    outside = kinds.named(world, f"{name}-outside")
    before = outside.repository.images()
    request_id = world.run.request_id(name)
    _ = world.notices

    world.send.message({
        "repositoryNames": [world.run.repository(f"{name}/*")],
        "imageIds": ["imageTag=old"],
        "requestId": request_id,
        "notify": "summary",
    })  # fmt: skip

    for case in cases:
        world.until(case.is_done, f"deletion in {case.repository.name}")
    summary = world.notice(request_id, "summary", seconds=900)
    assert [summary[count] for count in ("repositories", "finished", "deleted", "failed")] == [3, 3, 3, 0]
    assert outside.repository.images() == before
    world.pause()
    of_all = world.notices.arrived(lambda notice: str(notice.get("requestId")).startswith(request_id))
    assert of_all == [summary]


def test_a_key_belongs_to_one_request(world: World, name: str) -> None:
    """Another request under a used key is refused, and deletes nothing."""
    case = kinds.named(world, name)
    request = kinds.request_of(case, world.run.request_id(name))
    world.invoke(request)
    with pytest.raises(FunctionError, match="was used before"):
        world.invoke(request | {"imageIds": ["imageTag=kept"]})
    assert case.repository.images() == case.left
