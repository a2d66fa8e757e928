"""Lists of all images in a repository, and of all repositories."""

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import RefusedLookUpError
from handler.models.images import INDEX_MEDIA_TYPES, ImageId, ListedImage

from .client import Repository
from .errors import final_error, member
from .lookup import get_manifests, seconds
from .manifests import named_manifests

_PAGE = 1_000


def list_images(repository: Repository) -> list[ListedImage]:
    """Returns every image of a repository once, archived ones too.

    Raises ServiceUnavailableError, OutOfTimeError, and RefusedLookUpError.
    """
    found: dict[str, ListedImage] = {}
    page: Any = {}
    while True:
        try:
            with repository.calling():
                response = repository.ecr.describe_images(
                    **repository.scope, maxResults=_PAGE, filter={"tagStatus": "ANY", "imageStatus": "ANY"}, **page
                )
        except (ClientError, BotoCoreError) as error:
            raise RefusedLookUpError(*final_error(error, deleting=False)) from error
        # An image that changes while it is listed may stand on two pages; the later one has what is so by then.
        found |= {detail["imageDigest"]: _listed(detail) for detail in member(response, "imageDetails")}
        if not (token := response.get("nextToken")):
            return list(found.values())
        page = {"nextToken": token}


def _listed(detail: Any) -> ListedImage:
    return ListedImage(
        digest=detail["imageDigest"],
        tags=tuple(detail.get("imageTags", ())),
        pushed=detail["imagePushedAt"].timestamp(),
        pulled=seconds(detail.get("lastRecordedPullTime")),
        size=detail.get("imageSizeInBytes", 0),
        is_index=detail.get("imageManifestMediaType") in INDEX_MEDIA_TYPES,
        subject=detail.get("subjectManifestDigest"),
        status=detail.get("imageStatus", "ACTIVE"),
        activated=seconds(detail.get("lastActivatedAt")),
        archived=seconds(detail.get("lastArchivedAt")),
    )


def read_indexes(repository: Repository, digests: Sequence[str]) -> dict[str, list[str] | None]:
    """Returns the digests that each of up to 100 indexes names; None for one that cannot be read.

    Raises ServiceUnavailableError and OutOfTimeError.
    """
    unread: dict[str, list[str] | None] = dict.fromkeys(digests)
    try:
        manifests, _ = get_manifests(repository, [ImageId(digest=digest) for digest in digests])
    except (ClientError, BotoCoreError) as error:
        final_error(error, deleting=False)
        return unread
    found = [manifest for answer in manifests.values() if (manifest := named_manifests(*answer))]
    return unread | {manifest.digest: list(manifest.named) for manifest in found}


def repository_names(registry: Repository) -> list[str]:
    """Returns every repository of a registry, whichever is named.

    Raises ServiceUnavailableError, OutOfTimeError, and RefusedLookUpError.
    """
    arguments: Any = {"registryId": registry.registry_id} if registry.registry_id else {}
    found: list[str] = []
    while True:
        try:
            with registry.calling():
                response = registry.ecr.describe_repositories(maxResults=_PAGE, **arguments)
        except (ClientError, BotoCoreError) as error:
            raise RefusedLookUpError(*final_error(error, deleting=False)) from error
        found += [repository["repositoryName"] for repository in member(response, "repositories")]
        if not (token := response.get("nextToken")):
            return found
        arguments["nextToken"] = token
