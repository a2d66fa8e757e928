"""What images refer to: the manifests that an index names, and the subject of a signature."""

import itertools
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.models.errors import RefusedLookUpError
from handler.models.images import INDEX_MEDIA_TYPES, ImageFailure, ImageId, References
from handler.models.limits import CHUNK_SIZE

from .client import Repository
from .errors import final_error
from .lookup import get_manifests

_CALLS_AT_A_TIME = 12


def read_references(repository: Repository, image_ids: Sequence[ImageId]) -> dict[ImageId, References | ImageFailure]:
    """Returns what each of these images refers to, in one call for each 100; without those that are not there.

    Raises ServiceUnavailableError, OutOfTimeError and RefusedLookUpError.
    """
    chunks = list(itertools.batched(dict.fromkeys(image_ids), CHUNK_SIZE, strict=False))
    try:
        if len(chunks) == 1:
            return _read(repository, chunks[0])
        # Threads of its own: those of the invocation may all be waiting for this.
        with ThreadPoolExecutor(_CALLS_AT_A_TIME) as executor:
            found = list(executor.map(partial(_read, repository), chunks))
    except (ClientError, BotoCoreError) as error:
        raise RefusedLookUpError(*final_error(error, deleting=False)) from error
    return {image_id: references for chunk in found for image_id, references in chunk.items()}


def _read(repository: Repository, image_ids: Sequence[ImageId]) -> dict[ImageId, References | ImageFailure]:
    manifests, unseen = get_manifests(repository, image_ids)
    found = {image_id: _references(image_id, *manifest) for image_id, manifest in manifests.items()}
    return found | {image_id: failure for image_id, failure in unseen.items() if failure.code != "ImageNotFound"}


def _references(image_id: ImageId, digest: str, manifest: str) -> References | ImageFailure:
    try:
        value: Any = json.loads(manifest)
        children = value.get("manifests", [])
        named = [str(child["digest"]) for child in children]
        nested = [c["digest"] for c in children if c.get("mediaType") in INDEX_MEDIA_TYPES or "artifactType" in c]
        subject = (value.get("subject") or {}).get("digest")
        layers = [str(layer.get("mediaType")) for layer in value.get("layers", [])]
    except (ValueError, TypeError, KeyError, AttributeError):
        reason = f"what it refers to cannot be known: ECR's manifest of {digest} is of no kind we know"
        return ImageFailure(image_id, "UnreadableIndex", reason)
    return References(
        digest,
        tuple(named),
        tuple(nested),
        subject,
        # An index may be the list of an image's signatures, as they are kept where a registry knows no subjects.
        signs_by_tag=subject is None and (bool(named) or _may_sign(layers)),
    )


def _may_sign(layers: Iterable[str]) -> bool:
    """Returns whether these are no layers of a file system: then it may be a signature, an attestation or an SBOM."""
    return any(".tar" not in media_type for media_type in layers)
