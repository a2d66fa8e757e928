"""What ECR does with archived images."""

import pytest

from acceptance import images
from acceptance.asking import left
from acceptance.questions.conftest import Ask
from acceptance.repositories import Repository
from acceptance.world import World

ARCHIVING = "UpdateImageStorageClass to ARCHIVE"
RESTORING = "UpdateImageStorageClass to STANDARD"
RESTORE_SECONDS = 40 * 60
"""Twice what AWS says."""


def test_archived_images(repository: Repository, ask: Ask) -> None:
    """How do DescribeImages, BatchGetImage and BatchDeleteImage answer for an archived image?

    The function looks it up by DescribeImages, and does not rely on its manifest.
    """
    digest = repository.push_image("archived", "archived", "other")
    by_digest, name, ecr = {"imageDigest": digest}, repository.name, repository.ecr
    ask(ARCHIVING, lambda: repository.move(digest, "ARCHIVE"))
    ask("the same again", lambda: repository.move(digest, "ARCHIVE"))
    ask("DescribeImages of its digest", lambda: ecr.describe_images(repositoryName=name, imageIds=[by_digest]))
    ask("DescribeImages without ids and filter", lambda: ecr.describe_images(repositoryName=name))
    ask("BatchGetImage of its digest", lambda: repository.read(by_digest))
    ask("BatchDeleteImage of one of its tags", lambda: repository.delete({"imageTag": "other"}))
    ask.note("what is left", left(repository))
    ask(RESTORING, lambda: repository.move(digest, "STANDARD"))
    ask("to ARCHIVE while it is restored", lambda: repository.move(digest, "ARCHIVE"))
    ask("BatchDeleteImage of its digest", lambda: repository.delete(by_digest))
    ask.note("what is left", left(repository))


def test_archived_indexes(world: World, name: str, repository: Repository, ask: Ask) -> None:
    """What becomes of an index's children when it is archived, and does it still protect them?

    And can a child be archived while its index is active?
    """
    signed = repository.push_signed("index", "index")
    index, children = signed.index.digest, [child.digest for child in signed.children]
    ask(f"{ARCHIVING} of a child", lambda: repository.move(children[0], "ARCHIVE"))
    ask(f"{ARCHIVING} of the index", lambda: repository.move(index, "ARCHIVE"))
    ask.note("what is there then", left(repository))
    ask("BatchGetImage of the index", lambda: repository.read({"imageTag": "index"}))
    ask(
        "ListImageReferrers of the index",
        lambda: repository.ecr.list_image_referrers(repositoryName=repository.name, subjectId={"imageDigest": index}),
    )
    ask("BatchDeleteImage of the other child", lambda: repository.delete({"imageDigest": children[1]}))
    request = {"repositoryName": repository.name, "imageIds": ["imageTag=index"], "cascade": True}
    answer = world.invoke(request | {"requestId": world.run.request_id(name)})
    codes = [failure["failureCode"] for failure in answer["failures"]]
    ask.note("a request with cascade for the archived index", f"{len(answer['imageIds'])} deleted, failures: {codes}")
    ask.note("what is left", left(repository))


def test_pushed_again(repository: Repository, ask: Ask) -> None:
    """What becomes of an archived image that is pushed again, with another tag?

    The documents say that a push restores it at once.
    """
    image = images.image("pushed again")
    repository.push(image, "one")
    ask(ARCHIVING, lambda: repository.move(image.digest, "ARCHIVE"))
    repository.push(image, "another")
    ask.note("what is there after PutImage of the same manifest with another tag", left(repository))


@pytest.mark.slow
def test_restoring(world: World, repository: Repository, ask: Ask) -> None:
    """How long does it take until a restored image is active?

    AWS says up to 20 minutes.
    """
    digest = repository.push_image("restored", "restored")
    ask(ARCHIVING, lambda: repository.move(digest, "ARCHIVE"))
    ask(RESTORING, lambda: repository.move(digest, "STANDARD"))
    seconds = world.seconds_until(lambda: repository.status(digest) == "ACTIVE", RESTORE_SECONDS)
    ask.note("time until it is ACTIVE", "not within 40 minutes" if seconds is None else f"{seconds:.0f} s")
