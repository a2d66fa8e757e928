"""Images that belong to another: those that an index names, and those that have an image as their subject."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import OutOfTimeError
from handler.models.failure_codes import ARCHIVED_INDEX
from handler.models.families import Family, FoundFamilies
from handler.models.images import Image, ImageFailure, ImageId, signature_tags
from handler.models.limits import CHUNK_SIZE, STORED_BYTES, truncate_to_fit

from .client import Repository
from .errors import final_error, member
from .lookup import archived_images, get_manifests, not_to_be_pulled
from .manifests import named_manifests

_PAGE = 50
"""The most referrers that ECR lists in one call."""

type Remembered = Callable[[Iterable[str]], Mapping[str, Sequence[str]]]
"""Returns what belongs to images that were archived, by digest, as far as it was remembered."""


def find_families(
    repository: Repository, image_ids: Sequence[ImageId], remembered: Remembered, *, restoring: bool
) -> FoundFamilies:
    """Returns what belongs to the first of these images: to as many as there is time for, and as one step may store.

    One level only: what an index names may be an index again. What one in the archive names, ECR need not show; then it
    must be remembered. What is `restoring` looks for signatures in the archive also of images that are not there.
    Raises ServiceUnavailableError and OutOfTimeError.
    """
    families: list[Family | ImageFailure | None] = []
    try:
        manifests, unseen = get_manifests(repository, image_ids)
        archived = archived_images(repository, not_to_be_pulled(unseen))
        away = {image.digest: image for image in archived.values()}
        signatures_away = _signatures(repository, sorted(away), archived=True)
        names = remembered(digest for digest, image in away.items() if image.is_index) if away else {}
        signatures = _signatures(repository, sorted({digest for digest, _ in manifests.values()}), archived=restoring)
        for image_id in image_ids:
            if image_id in manifests:
                digest, manifest = manifests[image_id]
                families.append(_family(repository, image_id, digest, manifest, signatures.get(digest, [])))
            elif image_id in archived:
                image = archived[image_id]
                own = signatures_away.get(image.digest, [])
                families.append(_archived_family(repository, image_id, image, names, own))
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
    reason = "more images belong to it than one step can store; name them in requests of their own"
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
    signatures: Sequence[str],
) -> Family | ImageFailure:
    if image.is_index and image.digest not in names:
        reason = (
            f"what {image.digest} names cannot be known while it is in the archive; restore it, or leave out cascade"
        )
        return ImageFailure(image_id, ARCHIVED_INDEX, reason)
    relatives = dict.fromkeys([*names.get(image.digest, ()), *_referrers(repository, image.digest), *signatures])
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
                **repository.scope,
                subjectId={"imageDigest": digest},
                filter={"artifactStatus": "ANY"},
                maxResults=_PAGE,
                **page,
            )
        found += [referrer["digest"] for referrer in member(response, "referrers")]
        if not (token := response.get("nextToken")):
            return found
        page = {"nextToken": token}


def _signatures(repository: Repository, digests: Sequence[str], *, archived: bool) -> dict[str, list[str]]:
    """Returns the signatures and the like that say by their tag alone which of these images they belong to.

    Those in the archive too, if that is asked for.
    """
    subjects = {ImageId(tag=tag): digest for digest in digests for tag in signature_tags(digest)}
    found: dict[str, list[str]] = {}
    for names in itertools.batched(subjects, CHUNK_SIZE, strict=False):
        manifests, unseen = get_manifests(repository, names)
        signatures = {image_id: digest for image_id, (digest, _) in manifests.items()}
        if archived:
            away = archived_images(repository, not_to_be_pulled(unseen))
            signatures |= {image_id: image.digest for image_id, image in away.items()}
        for image_id, digest in signatures.items():
            found.setdefault(subjects[image_id], []).append(digest)
    return found
