"""What the manifests of many images name, side by side."""

import itertools
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import RefusedLookUpError
from handler.models.images import INDEX_MEDIA_TYPES, ImageFailure, ImageId, NamedManifests
from handler.models.limits import CHUNK_SIZE

from .client import CALLS_AT_A_TIME, Repository
from .errors import final_error
from .lookup import get_manifests

_OF_ONE_IMAGE = frozenset({"UnableToGetUpstreamImageException", "UnableToGetUpstreamLayerException"})
"""Refusals of a whole call for the sake of one image, which its upstream registry does not have any more."""


def read_manifests(
    repository: Repository, image_ids: Sequence[ImageId]
) -> dict[ImageId, NamedManifests | ImageFailure]:
    """Returns what each of these images names, in one call for each 100; without those that ECR does not find.

    Raises ServiceUnavailableError, OutOfTimeError and RefusedLookUpError.
    """
    chunks = list(itertools.batched(dict.fromkeys(image_ids), CHUNK_SIZE, strict=False))
    if len(chunks) == 1:
        return _read(repository, chunks[0])
    with ThreadPoolExecutor(CALLS_AT_A_TIME) as executor:
        found = list(executor.map(partial(_read, repository), chunks))
    return {image_id: manifest for chunk in found for image_id, manifest in chunk.items()}


def _read(repository: Repository, image_ids: Sequence[ImageId]) -> dict[ImageId, NamedManifests | ImageFailure]:
    try:
        manifests, unseen = get_manifests(repository, image_ids)
    except (ClientError, BotoCoreError) as error:
        code, reason = final_error(error, deleting=False)
        if code not in _OF_ONE_IMAGE:
            raise RefusedLookUpError(code, reason) from error
        if len(image_ids) == 1:
            return {image_ids[0]: ImageFailure(image_ids[0], code, reason)}
        half = len(image_ids) // 2
        return _read(repository, image_ids[:half]) | _read(repository, image_ids[half:])
    found = {image_id: _named(image_id, *manifest) for image_id, manifest in manifests.items()}
    return found | {image_id: failure for image_id, failure in unseen.items() if failure.code != "ImageNotFound"}


def _named(image_id: ImageId, digest: str, manifest: str) -> NamedManifests | ImageFailure:
    reason = f"what it names cannot be known: ECR's manifest of {digest} is of no kind we know"
    return named_manifests(digest, manifest) or ImageFailure(image_id, "UnreadableIndex", reason)


def named_manifests(digest: str, manifest: str) -> NamedManifests | None:
    """Returns what an image's manifest names; None for no manifest we know."""
    try:
        children: Any = json.loads(manifest).get("manifests", [])
        named = tuple(str(child["digest"]) for child in children)
        indexes = tuple(str(child["digest"]) for child in children if child.get("mediaType") in INDEX_MEDIA_TYPES)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return NamedManifests(digest, named, indexes)
