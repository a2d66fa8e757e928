"""Images go into the archive and come back."""

import pytest

from acceptance.repositories import Repository
from acceptance.world import World

pytestmark = pytest.mark.needs("AllowArchive")
RESTORE_SECONDS = 40 * 60
"""AWS says up to 20 minutes."""


def archive(world: World, repository: Repository, name: str, **more: object) -> dict[str, object]:
    """Archives the image with the tag `old` by hand; returns the answer."""
    return world.invoke({
        "repositoryName": repository.name,
        "imageIds": ["imageTag=old"],
        "action": "archive",
        "requestId": world.run.request_id(name),
        **more,
    })  # fmt: skip


def test_an_image_is_archived_and_restored(world: World, name: str, repository: Repository) -> None:
    """It keeps its digest and its tags; the request in the answer brings it back, and no other image."""
    old = repository.push_image(f"{name} old", "old", "older")
    kept = repository.push_image(f"{name} kept", "kept")
    before = repository.images()

    answer = archive(world, repository, name)

    assert answer["archivedCount"] == 1
    assert [repository.status(digest) for digest in (old, kept)] == ["ARCHIVED", "ACTIVE"]
    assert repository.images() == before
    restored = world.invoke({**answer["restoreRequest"], "requestId": world.run.request_id(f"{name}/back")})  # type: ignore[dict-item]
    assert restored["restoredCount"] == 1
    assert repository.status(old) in {"ACTIVATING", "ACTIVE"}
    assert repository.images() == before


def test_a_multi_architecture_image_is_archived_whole(world: World, name: str, repository: Repository) -> None:
    """Its platform images and signatures go along; another image stays active."""
    signed = repository.push_signed(f"{name} old", "old")
    kept = repository.push_image(f"{name} kept", "kept")
    archive(world, repository, name)
    assert {repository.status(manifest.digest) for manifest in signed.all} == {"ARCHIVED"}
    assert repository.status(kept) == "ACTIVE"


@pytest.mark.slow
def test_a_restored_image_becomes_active(world: World, name: str, repository: Repository) -> None:
    """Within the time that AWS documents; its manifest can be read then."""
    old = repository.push_image(f"{name} old", "old")
    answer = archive(world, repository, name)
    world.invoke({**answer["restoreRequest"], "requestId": world.run.request_id(f"{name}/back")})  # type: ignore[dict-item]
    world.until(lambda: repository.status(old) == "ACTIVE", "active image", RESTORE_SECONDS)
    assert repository.read({"imageTag": "old"})["failures"] == []
