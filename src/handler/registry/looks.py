"""What is there, and what belongs to it."""

import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models import (
    CHUNK_SIZE,
    DeletionRequest,
    Image,
    ImageFailure,
    ImageId,
    RejectedRequestError,
    Relatives,
    names,
)

from .calls import failure, lasting, scope

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

_RELATIVES = 2_000
"""As many as fit the store, with the digests of what they belong to."""
_MEDIA_TYPES = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
]


def look_up(ecr: "ECRClient", where: Any, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | ImageFailure]:
    """What each id names at the moment, in one call for each 100 as long as all are there.

    DescribeImages tells all about an image but fails whole when one is missing; then BatchGetImage, which answers for
    each, says which.
    """
    found: dict[ImageId, Image | ImageFailure] = {}
    for some in itertools.batched(image_ids, CHUNK_SIZE, strict=False):
        wanted = list({ImageId(tag=i.tag) if i.tag is not None else ImageId(digest=i.digest) for i in some})
        unseen: dict[ImageId, ImageFailure] = {}
        try:
            images = _describe(ecr, where, wanted)
        except ecr.exceptions.ImageNotFoundException:
            there, unseen = get_images(ecr, where, wanted)
            images = _describe(ecr, where, [ImageId(digest=digest) for digest in there])
        by_name = {name: image for image in images for name in names(ImageId(image.digest, tag) for tag in image.tags)}
        by_name |= {ImageId(digest=image.digest): image for image in images}
        for image_id in some:
            name = ImageId(tag=image_id.tag) if image_id.tag is not None else image_id
            if name in by_name:
                found[image_id] = by_name[name]
            elif name in unseen and unseen[name].code != "ImageNotFound":
                found[image_id] = ImageFailure(image_id, unseen[name].code, unseen[name].reason)
    return found


def _describe(ecr: "ECRClient", where: Any, image_ids: Sequence[ImageId]) -> list[Image]:
    if not image_ids:
        return []
    answer = ecr.describe_images(
        **where, imageIds=[image_id.to_json() for image_id in image_ids], filter={"imageStatus": "ANY"}
    )
    return [
        Image(detail["imageDigest"], frozenset(detail.get("imageTags", [])), detail["imagePushedAt"].timestamp())
        for detail in answer["imageDetails"]
    ]


def get_images(
    ecr: "ECRClient", where: Any, image_ids: Sequence[ImageId]
) -> tuple[dict[str, str], dict[ImageId, ImageFailure]]:
    """The manifests of the images that are there, by digest; and what ECR says of the others."""
    answer = ecr.batch_get_image(
        **where, imageIds=[image_id.to_json() for image_id in image_ids], acceptedMediaTypes=_MEDIA_TYPES
    )
    images = {image["imageId"]["imageDigest"]: image.get("imageManifest", "{}") for image in answer.get("images", [])}
    failures = {}
    for told in answer.get("failures", []):
        image_id = ImageId.from_json(told.get("imageId", {}))
        failures[image_id] = failure(image_id, told)
    return images, failures


def find_relatives(ecr: "ECRClient", request: DeletionRequest, image_ids: Sequence[ImageId]) -> Relatives:
    """What an index names, and in turn what that names; and of all of these, what has them as its subject.

    Raises NotNowError, and RejectedRequestError where there is more than can be remembered.
    """
    try:
        return _find_relatives(ecr, scope(request), image_ids)
    except (ClientError, BotoCoreError) as error:
        code, reason = lasting(error, lost=False)
        return Relatives({}, tuple(ImageFailure(image_id, code, reason) for image_id in image_ids))


def _find_relatives(ecr: "ECRClient", where: Any, image_ids: Sequence[ImageId]) -> Relatives:
    parents: dict[str, list[str]] = {}
    failures: list[ImageFailure] = []
    seen: set[str] = set()
    pending = list(image_ids)
    while pending:
        images, unseen = get_images(ecr, where, pending[:CHUNK_SIZE])
        # What is named but not there any more belongs to nobody, and what is asked for is told when it is deleted.
        failures += [told for told in unseen.values() if told.code != "ImageNotFound"]
        pending = pending[CHUNK_SIZE:]
        for digest, manifest in images.items():
            if digest in seen:
                continue
            seen.add(digest)
            if (children := named(manifest)) is None:
                reason = f"what belongs to it cannot be known: ECR's manifest of {digest} is of no kind we know"
                return Relatives({}, tuple(ImageFailure(image_id, "UnreadableIndex", reason) for image_id in image_ids))
            for relative in [*children, *_referrers(ecr, where, digest)]:
                if relative not in parents:
                    pending.append(ImageId(digest=relative))
                parents.setdefault(relative, []).append(digest)
            # What an index names may be the signature of another image, which may stay.
            subject = _subject(manifest)
            if subject and digest in parents and subject not in parents[digest]:
                parents[digest].append(subject)
        if len(parents) > _RELATIVES:
            raise RejectedRequestError(
                f"request.cascade: the images that {image_ids[0]} and the next name belong to more than {_RELATIVES:,} "
                "others; ask for fewer at a time"
            )
    return Relatives(parents, tuple(failures))


def named(manifest: str) -> list[str] | None:
    """The digests that an index or manifest list names, none for an image; None for what is no manifest we know."""
    try:
        return [child["digest"] for child in json.loads(manifest).get("manifests", [])]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _subject(manifest: str) -> str | None:
    """The digest of what a signature or the like refers to."""
    match json.loads(manifest):
        case {"subject": {"digest": str(digest)}}:
            return digest
    return None


def _referrers(ecr: "ECRClient", where: Any, digest: str) -> list[str]:
    """The signatures, attestations and the like that have a manifest as their subject."""
    found: list[str] = []
    page: Any = {}
    while True:
        answer = ecr.list_image_referrers(
            **where, subjectId={"imageDigest": digest}, filter={"artifactStatus": "ANY"}, **page
        )
        found += [referrer["digest"] for referrer in answer.get("referrers", [])]
        if not (token := answer.get("nextToken")):
            return found
        page = {"nextToken": token}
