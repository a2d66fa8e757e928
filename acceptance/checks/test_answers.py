"""The answer of an invocation by hand is that of `aws ecr batch-delete-image` for a twin of the repository."""

from collections.abc import Callable
from typing import Any

import pytest

from acceptance import images
from acceptance.repositories import Repository
from acceptance.safety import matches
from acceptance.world import World

type Json = dict[str, Any]

MISSING = "sha256:" + "0" * 64
OLD, OTHER = images.image("old"), images.image("other")
INDEX = images.index([OLD, OTHER])


def fill(repository: Repository) -> None:
    """The images of the CLI's examples, an image of several tags, one without, and an index of both."""
    for tag in ("precise", "prod", "team1", "team2"):
        repository.push_image(tag, tag)
    repository.push(OLD, "old", "older")
    repository.push(OTHER)


def fill_with_index(repository: Repository) -> None:
    """An index with a child that has a tag of its own, and one that has none."""
    repository.push(OLD, "child")
    repository.push(OTHER)
    repository.push(INDEX, "index")


EXAMPLES: dict[str, tuple[Callable[[Repository], None], list[Json]]] = {
    "the page's first example": (fill, [{"imageTag": "precise"}]),
    "the page's second example": (fill, [{"imageTag": "prod"}, {"imageTag": "team1"}]),
    "one of several tags": (fill, [{"imageTag": "old"}]),
    "all tags of an image": (fill, [{"imageTag": "old"}, {"imageTag": "older"}]),
    "several tags by digest": (fill, [{"imageDigest": OLD.digest}]),
    "no tag by digest": (fill, [{"imageDigest": OTHER.digest}]),
    "a tag that is not there": (fill, [{"imageTag": "none"}, {"imageTag": "precise"}]),
    "a digest that is not there": (fill, [{"imageDigest": MISSING}]),
    "a tag with another digest": (fill, [{"imageTag": "old", "imageDigest": OTHER.digest}]),
    "a tag with its digest": (fill, [{"imageTag": "precise", "imageDigest": images.image("precise").digest}]),
    "an index": (fill_with_index, [{"imageTag": "index"}]),
    "a child by tag": (fill_with_index, [{"imageTag": "child"}]),
    "a child by digest": (fill_with_index, [{"imageDigest": OTHER.digest}]),
}
"""For each, what is in both repositories, and what is asked for. The first two are those of the CLI's own page."""


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_is_that_of_the_cli(world: World, name: str, example: str) -> None:
    """The same images are deleted, the same fail for the same reason, and the same are left."""
    prepare, image_ids = EXAMPLES[example]
    for image_id in image_ids:
        if matches(image_id.get("imageTag", ""), world.stack.parameters.get("ProtectedTags", "")):
            pytest.skip(f"ProtectedTags protects {image_id['imageTag']}")
    ours, twin = world.repository(f"{name}/ours"), world.repository(f"{name}/twin")
    for repository in (ours, twin):
        prepare(repository)

    answer = world.invoke({
        "repositoryName": ours.name, "imageIds": image_ids, "requestId": world.run.request_id(name),
    })  # fmt: skip
    expected = twin.delete(*image_ids)

    assert _ids(answer["imageIds"]) == _ids(expected["imageIds"])
    assert _failures(answer) == _failures(expected)
    assert ours.images() == twin.images()
    assert answer["repositoryName"] == ours.name
    assert answer["registryId"] == world.stack.account


def _ids(image_ids: list[Json]) -> list[tuple[str, str]]:
    """Ids in an order of our own: that of the answer means nothing."""
    return sorted((image_id.get("imageTag", ""), image_id.get("imageDigest", "")) for image_id in image_ids)


def _failures(answer: Json) -> list[tuple[str, str, str]]:
    return sorted((*_ids([failure["imageId"]])[0], failure["failureCode"]) for failure in answer["failures"])
