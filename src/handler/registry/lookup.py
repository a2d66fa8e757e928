"""Look-ups of images and manifests by the ids that name them."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import parse_timestamp

from handler.models.errors import RefusedLookUpError, ServiceUnavailableError
from handler.models.images import INDEX_MEDIA_TYPES, Image, ImageFailure, ImageId, ids_of
from handler.models.limits import CHUNK_SIZE

from .client import Repository
from .errors import failure, final_error, member

_MEDIA_TYPES = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
]

_NOT_TO_BE_PULLED = frozenset({"ImageInaccessible", "ImageNotFound"})
"""What BatchGetImage may say of an archived image: AWS does not document it."""
_DESCRIBED_SINGLY = 2
"""Images that are described one by one, rather than by a list of all that are archived, which has two parts."""
_LOOK_UP_ATTEMPTS = 5
"""How often a chunk is looked up that loses images meanwhile: the chunks beside it may be deleting them."""


def look_up(repository: Repository, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | ImageFailure]:
    """Returns what each id names at the moment, in one call for each 100 as long as all are there.

    DescribeImages has all details of an image, but fails as a whole when one is missing; then BatchGetImage, which
    answers for each, says which. It does not find what is archived, which DescribeImages does. Raises
    ServiceUnavailableError, OutOfTimeError and RefusedLookUpError.
    """
    found: dict[ImageId, Image | ImageFailure] = {}
    try:
        for chunk in itertools.batched(image_ids, CHUNK_SIZE, strict=False):
            found |= _look_up(repository, chunk)
    except (ClientError, BotoCoreError) as error:
        raise RefusedLookUpError(*final_error(error, deleting=False)) from error
    return found


def _look_up(repository: Repository, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | ImageFailure]:
    wanted = list({_name(image_id) for image_id in image_ids})
    images, unseen = _describe_existing(repository, wanted)
    by_name = {ImageId(tag=tag): image for image in images for tag in image.tags}
    by_name |= {ImageId(digest=image.digest): image for image in images}
    found: dict[ImageId, Image | ImageFailure] = {}
    for image_id in image_ids:
        name = _name(image_id)
        if name in by_name:
            found[image_id] = by_name[name]
        elif name not in unseen:
            raise ServiceUnavailableError(f"ECR's response leaves out {name}")
        elif unseen[name].code != "ImageNotFound":
            found[image_id] = unseen[name]._replace(image_id=image_id)
    return found


def _describe_existing(
    repository: Repository, wanted: Sequence[ImageId]
) -> tuple[list[Image], dict[ImageId, ImageFailure]]:
    """Returns those of the images that are there, and what ECR says of the others; each may go between two calls."""
    unseen: dict[ImageId, ImageFailure] = {}
    for _ in range(_LOOK_UP_ATTEMPTS):
        try:
            return _describe(repository, wanted), unseen
        except repository.ecr.exceptions.ImageNotFoundException:
            if len(wanted) == 1:
                return [], unseen | {wanted[0]: ImageFailure(wanted[0], "ImageNotFound", "Requested image not found")}
            manifests, missing = get_manifests(repository, wanted)
            archived = archived_images(repository, not_to_be_pulled(missing))
            unseen |= {image_id: failure for image_id, failure in missing.items() if image_id not in archived}
            wanted = [*manifests, *archived]
    raise ServiceUnavailableError("images went away while they were looked up, again and again")


def not_to_be_pulled(failures: Mapping[ImageId, ImageFailure]) -> list[ImageId]:
    """Returns the images that may be in the archive, of those that BatchGetImage did not answer with."""
    return [image_id for image_id, failure in failures.items() if failure.code in _NOT_TO_BE_PULLED]


def archived_images(repository: Repository, image_ids: Sequence[ImageId]) -> dict[ImageId, Image]:
    """Returns which of the images that cannot be pulled are there: in the archive, or on their way out of it.

    Raises botocore's errors.
    """
    if len(image_ids) <= _DESCRIBED_SINGLY:
        return {image_id: image for image_id in image_ids for image in _described(repository, image_id)}
    found: dict[ImageId, Image] = {}
    for status in ("ARCHIVED", "ACTIVATING"):
        page: Any = {}
        while page is not None:
            with repository.calling():
                response = repository.ecr.describe_images(
                    **repository.scope, maxResults=1_000, filter={"imageStatus": status}, **page
                )
            for image in map(_image, member(response, "imageDetails")):
                found |= dict.fromkeys([ImageId(image.digest), *(ImageId(tag=tag) for tag in image.tags)], image)
            page = {"nextToken": token} if (token := response.get("nextToken")) else None
    return {image_id: found[image_id] for image_id in image_ids if image_id in found}


def _described(repository: Repository, image_id: ImageId) -> list[Image]:
    try:
        return _describe(repository, [image_id])
    except repository.ecr.exceptions.ImageNotFoundException:
        return []


def _name(image_id: ImageId) -> ImageId:
    """Returns what an id is looked up by: its tag, where it has one."""
    return image_id if image_id.tag is None else ImageId(tag=image_id.tag)


def _describe(repository: Repository, image_ids: Sequence[ImageId]) -> list[Image]:
    if not image_ids:
        return []
    with repository.calling():
        response = repository.ecr.describe_images(
            **repository.scope, imageIds=[image_id.to_json() for image_id in image_ids], filter={"imageStatus": "ANY"}
        )
    return [_image(detail) for detail in member(response, "imageDetails")]


def _image(detail: Any) -> Image:
    return Image(
        detail["imageDigest"],
        frozenset(detail.get("imageTags", [])),
        seconds(detail["imagePushedAt"]),
        detail.get("imageManifestMediaType") in INDEX_MEDIA_TYPES,
        detail.get("subjectManifestDigest"),
        detail.get("imageSizeInBytes", 0),
        detail.get("imageStatus", "ACTIVE"),
        optional_seconds(detail.get("lastArchivedAt")),
        optional_seconds(detail.get("lastActivatedAt")),
    )


def seconds(time: float | str | datetime) -> float:
    """Returns a time as seconds since the epoch: a number from ECR, text from emulators, an object from botocore."""
    if isinstance(time, int | float):
        return time
    return (time if isinstance(time, datetime) else parse_timestamp(time)).timestamp()


def optional_seconds(time: float | str | datetime | None) -> float | None:
    """Returns the same of a time that not every image has."""
    return None if time is None else seconds(time)


def get_manifests(
    repository: Repository, image_ids: Sequence[ImageId]
) -> tuple[dict[ImageId, tuple[str, str]], dict[ImageId, ImageFailure]]:
    """Returns digest and manifest of each id whose image is there, and what ECR says of each other.

    Raises botocore's errors, and ServiceUnavailableError where the response leaves one out.
    """
    with repository.calling():
        response = repository.ecr.batch_get_image(
            **repository.scope, imageIds=[image_id.to_json() for image_id in image_ids], acceptedMediaTypes=_MEDIA_TYPES
        )
    by_name: dict[ImageId, tuple[str, str]] = {}
    for image in member(response, "images"):
        if "imageManifest" not in image:
            raise ServiceUnavailableError("ECR's response has an image without its manifest: it did not arrive whole")
        found = ImageId.from_json(image["imageId"])
        by_name |= dict.fromkeys(ids_of([found]), (str(found.digest), image["imageManifest"]))
    failures = {
        image_id: failure(image_id, value)
        for value in member(response, "failures")
        for image_id in [ImageId.from_json(value.get("imageId", {}))]
    }
    images = {image_id: by_name[image_id] for image_id in image_ids if image_id in by_name}
    for image_id in image_ids:
        if image_id not in images and image_id not in failures:
            raise ServiceUnavailableError(f"ECR's response leaves out {image_id}")
    return images, failures
