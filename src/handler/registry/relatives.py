"""Images that belong to another: those that an index names, and those that have an image as their subject."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import OutOfTimeError
from handler.models.failure_codes import ARCHIVED_INDEX
from handler.models.images import Image, ImageFailure, ImageId, signature_tags
from handler.models.limits import STORED_BYTES, truncate_to_fit
from handler.models.outcomes import Family, FoundFamilies

from .client import Repository
from .errors import final_error, member
from .lookup import archived_images, get_manifests, not_to_be_pulled
from .manifests import named_manifests

type Remembered = Callable[[], Mapping[str, Sequence[str]]]
"""Returns what belongs to images that were archived, by digest, as far as it was remembered."""


def find_families(repository: Repository, image_ids: Sequence[ImageId], remembered: Remembered) -> FoundFamilies:
    """Returns what belongs to the first of these images: to as many as there is time for, and as one step may store.

    One level only: what an index names may be an index again. What one in the archive names, ECR need not show; then it
    must be remembered. Raises ServiceUnavailableError and OutOfTimeError.
    """
    families: list[Family | ImageFailure | None] = []
    try:
        manifests, unseen = get_manifests(repository, image_ids)
        archived = archived_images(repository, not_to_be_pulled(unseen))
        tags = [ImageId(tag=tag) for image in archived.values() for tag in signature_tags(image.digest)]
        archived_signatures = archived_images(repository, tags)
        names = remembered() if archived else {}
        signatures = _signatures(repository, sorted({digest for digest, _ in manifests.values()}))
        for image_id in image_ids:
            if image_id in manifests:
                digest, manifest = manifests[image_id]
                families.append(_family(repository, image_id, digest, manifest, signatures.get(digest, [])))
            elif image_id in archived:
                families.append(_archived_family(repository, image_id, archived[image_id], names, archived_signatures))
            else:  # what is not there belongs to nobody
                families.append(None if unseen[image_id].code == "ImageNotFound" else unseen[image_id])
    except OutOfTimeError:
        if not families:
            raise
    except (ClientError, BotoCoreError) as error:
        code, reason = final_error(error, deleting=False)
        return FoundFamilies(tuple(ImageFailure(image_id, code, reason) for image_id in image_ids))
    found = truncate_to_fit(
        lambda count: FoundFamilies(tuple(families[:count])),
        len(families),
        lambda found: len(json.dumps(found.to_json())),
        STORED_BYTES,
    )
    if found.families:
        return found
    reason = "more images belong to it than one step can store; name them in requests of their own, without cascade"
    return FoundFamilies((ImageFailure(image_ids[0], "TooManyRelatives", reason),))


def _family(
    repository: Repository, image_id: ImageId, digest: str, manifest: str, signatures: Sequence[str]
) -> Family | ImageFailure:
    if not (manifests := named_manifests(digest, manifest)):
        reason = f"what belongs to it cannot be known: ECR's manifest of {digest} is of no kind we know"
        return ImageFailure(image_id, "UnreadableIndex", reason)
    relatives = dict.fromkeys([*manifests.named, *_referrers(repository, digest), *signatures])
    relatives.pop(digest, None)
    return Family(digest, _subject(manifest), tuple(relatives))


def _archived_family(
    repository: Repository,
    image_id: ImageId,
    image: Image,
    names: Mapping[str, Sequence[str]],
    signatures: Mapping[ImageId, Image],
) -> Family | ImageFailure:
    if image.is_index and not names.get(image.digest):
        reason = (
            f"what {image.digest} names cannot be known while it is in the archive; restore it, or leave out cascade"
        )
        return ImageFailure(image_id, ARCHIVED_INDEX, reason)
    own = [found.digest for tag in signature_tags(image.digest) if (found := signatures.get(ImageId(tag=tag)))]
    relatives = dict.fromkeys([*names.get(image.digest, ()), *_referrers(repository, image.digest), *own])
    relatives.pop(image.digest, None)
    return Family(image.digest, image.subject, tuple(relatives))


def _subject(manifest: str) -> str | None:
    """Returns the digest of what a signature or the like refers to."""
    match json.loads(manifest):
        case {"subject": {"digest": str(digest)}}:
            return digest
    return None


def _referrers(repository: Repository, digest: str) -> list[str]:
    """Returns the signatures, attestations and the like that have a manifest as their subject."""
    found: list[str] = []
    page: Any = {}
    while True:
        with repository.calling():
            response = repository.ecr.list_image_referrers(
                **repository.scope, subjectId={"imageDigest": digest}, filter={"artifactStatus": "ANY"}, **page
            )
        found += [referrer["digest"] for referrer in member(response, "referrers")]
        if not (token := response.get("nextToken")):
            return found
        page = {"nextToken": token}


def _signatures(repository: Repository, digests: Sequence[str]) -> dict[str, list[str]]:
    """Returns the signatures and the like that say by their tag alone which of these images they belong to."""
    subjects = {ImageId(tag=tag): digest for digest in digests for tag in signature_tags(digest)}
    found: dict[str, list[str]] = {}
    if subjects:
        manifests, _ = get_manifests(repository, list(subjects))
        for image_id, (signature, _) in manifests.items():
            found.setdefault(subjects[image_id], []).append(signature)
    return found
