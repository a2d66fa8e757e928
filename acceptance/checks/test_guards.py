"""What must stay, stays, whoever asks."""

import pytest

from acceptance import functions
from acceptance.repositories import Repository
from acceptance.safety import example_of
from acceptance.world import World

READING_SECONDS = 120


def codes(world: World, repository: Repository, request_id: str, *image_ids: str) -> list[str]:
    """Asks for a deletion by hand; returns the codes of its failures, in the order of the ids."""
    answer = world.invoke({"repositoryName": repository.name, "imageIds": list(image_ids), "requestId": request_id})
    return [failure["failureCode"] for failure in answer["failures"]]


@pytest.mark.needs("ProtectedTags")
def test_a_protected_tag(world: World, name: str, repository: Repository) -> None:
    """Neither the tag can be deleted, nor its image by digest; another tag of the image can."""
    tag = example_of(world.stack.parameters["ProtectedTags"])
    digest = repository.push_image(name, tag, "other")
    found = codes(world, repository, world.run.request_id(name), f"imageTag={tag}", f"imageDigest={digest}")
    assert found == ["ProtectedTag", "ProtectedTag"]
    assert repository.images() == {(digest, tuple(sorted((tag, "other"))))}
    assert codes(world, repository, world.run.request_id(f"{name}/other"), "imageTag=other") == []
    assert repository.images() == {(digest, (tag,))}


def test_a_tag_that_names_another_image_by_now(world: World, name: str, repository: Repository) -> None:
    """With the digest of what it named, the tag is not deleted; with that of what it names, it is."""
    old = repository.push_image(f"{name} old", "pr-1")
    new = repository.push_image(f"{name} new", "pr-1")
    assert codes(world, repository, world.run.request_id(name), f"imageDigest={old},imageTag=pr-1") == [
        "ImageTagDoesNotMatchDigest"
    ]
    assert repository.images() == {(old, ()), (new, ("pr-1",))}
    assert codes(world, repository, world.run.request_id(f"{name}/new"), f"imageDigest={new},imageTag=pr-1") == []
    assert "pr-1" not in repository.tags()


def test_the_last_tag_of_an_image(world: World, name: str, repository: Repository) -> None:
    """Where tags alone are to be removed, the last one stays, and the image with it."""
    digest = repository.push_image(name, "last")
    answer = world.invoke({
        "repositoryName": repository.name,
        "imageIds": ["imageTag=last"],
        "untag": True,
        "requestId": world.run.request_id(name),
    })  # fmt: skip
    assert [failure["failureCode"] for failure in answer["failures"]] == ["LastTag"]
    assert repository.images() == {(digest, ("last",))}


@pytest.mark.needs("ProtectInUse")
def test_an_image_that_a_function_uses(world: World, name: str, repository: Repository) -> None:
    """It stays, by tag and by digest, once the stack has read what is in use; another image of the repository goes."""
    digest = repository.push_image(f"{name} used", "used")
    repository.push_image(f"{name} unused", "unused")
    domain = "amazonaws.com.cn" if world.stack.partition == "aws-cn" else "amazonaws.com"
    uri = f"{world.stack.account}.dkr.ecr.{world.stack.region}.{domain}/{repository.name}:used"
    function = functions.of_image(world.clients, world.run, repository.name, uri)
    world.send.invoke_function(world.stack.usage_function, {})
    request = {
        "repositoryName": repository.name,
        "imageIds": ["imageTag=used", f"imageDigest={digest}", "imageTag=unused"],
    }

    def known() -> bool:
        answer = world.invoke(request | {"dryRun": True})
        return [failure["failureCode"] for failure in answer["failures"]] == ["ImageInUse"] * 2

    world.until(known, "failure ImageInUse in a dry run", READING_SECONDS)
    answer = world.invoke(request | {"requestId": world.run.request_id(name)})
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageInUse"] * 2
    assert function in answer["failures"][0]["failureReason"]
    assert repository.images() == {(digest, ("used",))}
