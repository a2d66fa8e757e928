"""What a whole repository holds, and which repositories there are."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models import DeletionRequest, ImageId, ListedImage

from .calls import lasting, scope
from .looks import get_images, named

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

_PAGE = 1_000
_INDEXES = frozenset({
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
})  # fmt: skip


class RepositoryError(Exception):
    """ECR refuses to tell what is there, and a redelivery would be refused again."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def list_images(ecr: "ECRClient", request: DeletionRequest, between_pages: Callable[[], None]) -> list[ListedImage]:
    """Every image of the request's repository, archived ones too.

    `between_pages` may raise, to stop in time. Raises NotNowError, and RepositoryError for what lasts.
    """
    found: list[ListedImage] = []
    page: Any = {}
    while True:
        between_pages()
        try:
            answer = ecr.describe_images(
                **scope(request), maxResults=_PAGE, filter={"tagStatus": "ANY", "imageStatus": "ANY"}, **page
            )
        except (ClientError, BotoCoreError) as error:
            raise RepositoryError(*lasting(error, lost=False)) from error
        for detail in answer["imageDetails"]:
            pulled = detail.get("lastRecordedPullTime")
            found.append(
                ListedImage(
                    digest=detail["imageDigest"],
                    tags=tuple(detail.get("imageTags", ())),
                    pushed=detail["imagePushedAt"].timestamp(),
                    pulled=pulled.timestamp() if pulled else None,
                    size=detail.get("imageSizeInBytes", 0),
                    is_index=detail.get("imageManifestMediaType") in _INDEXES,
                    subject=detail.get("subjectManifestDigest"),
                    active=detail.get("imageStatus", "ACTIVE") == "ACTIVE",
                )
            )
        if not (token := answer.get("nextToken")):
            return found
        page = {"nextToken": token}


def read_indexes(ecr: "ECRClient", request: DeletionRequest, digests: Sequence[str]) -> dict[str, list[str] | None]:
    """The digests that each of up to 100 indexes names; None for one that cannot be read."""
    unread: dict[str, list[str] | None] = dict.fromkeys(digests)
    try:
        manifests, _ = get_images(ecr, scope(request), [ImageId(digest=digest) for digest in digests])
    except (ClientError, BotoCoreError) as error:
        lasting(error, lost=False)
        return unread
    return unread | {digest: named(manifest) for digest, manifest in manifests.items()}


def repository_names(ecr: "ECRClient", registry_id: str | None) -> list[str]:
    """Every repository of a registry. Raises NotNowError, and RepositoryError for what lasts."""
    arguments: Any = {"registryId": registry_id} if registry_id else {}
    found: list[str] = []
    try:
        for page in ecr.get_paginator("describe_repositories").paginate(**arguments):
            found += [repository["repositoryName"] for repository in page["repositories"]]
    except (ClientError, BotoCoreError) as error:
        raise RepositoryError(*lasting(error, lost=False)) from error
    return found
