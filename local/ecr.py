"""moto's ECR, corrected to behave as the real one does where images are pushed, looked up and deleted.

What ECR does and moto 5.2 does not, all of it done here:

- A call takes 1 to 100 image ids; a tag that is empty or longer than 300 characters fails the whole call.
- A manifest's digest is the SHA-256 of its text, so an index and its children differ.
- A tag that is pushed again leaves its former image untagged; an index needs its children to be there.
- A manifest that an index references cannot be deleted, nor can its last tag be removed.
- Digest and tag that belong to different images are a failure of their own.
- An untagged image that was deleted by digest is in the answer.
- Descriptions come in pages, by the order of digests, and know which manifest an image has as its subject.
- What has a manifest as its subject can be listed.
- Images may be archived, and restored; lists show archived ones only where they are asked for. Pushed again, an
  archived image is restored. What is chosen here, where ECR's behaviour is not known, is said in `ecr_storage`.
- A registry has several replication rules.
"""

import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import moto.ecr.urls
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageAlreadyExistsException, ImageNotFoundException, InvalidParameterException
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.ecr.responses import ECRResponse

from . import ecr_storage
from .ecr_storage import StorageChoices

type ImageId = dict[str, str]
type Json = dict[str, Any]

_MODEL = ServiceModel(create_loader().load_service_model("ecr", "service-2"))
_REPOSITORY_NAME = _MODEL.shape_for("RepositoryName").metadata
_IMAGE_IDS = _MODEL.shape_for("ImageIdentifierList").metadata
_IMAGE_TAG = _MODEL.shape_for("ImageTag").metadata
_REPLICATION_RULES = _MODEL.shape_for("ReplicationRuleList").metadata

_PAGE = 100
"""Images in one answer of DescribeImages, when the caller does not say."""
_DIGEST = re.compile(r"[a-zA-Z0-9-_+.]+:[a-fA-F0-9]{64}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]*")
_IMAGE_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^:@]+)"
    r"(:(?P<tag>[^@]+))?(@(?P<digest>.+))?"
)


class ReferencedImagesNotFoundException(ServiceException):
    """An index names a manifest that is not in the repository."""

    code = "ReferencedImagesNotFoundException"
    message = "The manifest list is referencing an image that does not exist"


class CorrectedECR(StorageChoices, ECRBackend):
    """One account's registry in one region."""

    _url_module = moto.ecr.urls

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self._turn = threading.RLock()

    def put_image(
        self,
        repository_name: str,
        image_manifest: str,
        image_tag: str | None,
        image_manifest_mediatype: str | None = None,
        digest: str | None = None,
    ) -> Image:
        """Pushes a manifest, or adds a tag to one that is there; one that is archived is restored at once.

        Two choices: so is one that is being restored, and an index may name children that are archived, which stay so.
        """
        with self._turn:
            repository = self._get_repository(repository_name)
            manifest = json.loads(image_manifest)
            media_type = image_manifest_mediatype or manifest["mediaType"]
            digest = digest or f"sha256:{hashlib.sha256(image_manifest.encode()).hexdigest()}"
            if not all(_by_digest(repository, child) for child in _children(manifest)):
                raise ReferencedImagesNotFoundException
            image = _by_digest(repository, digest)
            has_tag = image is not None and (image_tag is None or image_tag in image.image_tags)
            if image and has_tag and ecr_storage.status(image) == "ACTIVE":
                raise ImageAlreadyExistsException(
                    repository_name=repository_name, registry_id=self.account_id, digest=digest, image_tag=image_tag
                )
            if image_tag is not None and not has_tag:
                self._resolve_image_tag_mutability(repository, image_tag)  # raises when the tag must stay where it is
                if former := _by_tag(repository, image_tag):
                    _untag(former, image_tag)
            if image is None:
                image = Image(self.account_id, None, image_manifest, repository_name, media_type, digest)
                repository.images.append(image)
            elif ecr_storage.status(image) != "ACTIVE":
                ecr_storage.restore(image, at=time.time())
            if image_tag is not None:
                image.update_tag(image_tag)
            return image

    def batch_get_image(
        self, repository_name: str, registry_id: str | None = None, image_ids: list[ImageId] | None = None
    ) -> Json:
        """Looks up each id by itself; the answer names it by the tag that was asked for."""
        with self._turn:
            repository = self._get_repository(repository_name, registry_id)
            _check_members(image_ids or [])
            images: list[Json] = []
            failures: list[Json] = []
            for image_id in image_ids or []:
                image = _find(repository, image_id)
                if isinstance(image, Image) and self.archived_image_failure and ecr_storage.status(image) != "ACTIVE":
                    image = _failure(self.archived_image_failure, "Requested image is archived")
                if isinstance(image, Image):
                    images.append({
                        "registryId": repository.registry_id,
                        "repositoryName": repository_name,
                        "imageId": {**image_id, "imageDigest": image.image_digest},
                        "imageManifest": image.image_manifest,
                        "imageManifestMediaType": image.image_manifest_media_type,
                    })  # fmt: skip
                else:
                    failures.append({"imageId": image_id, **image})
            return {"images": images, "failures": failures}

    def batch_delete_image(
        self, repository_name: str, registry_id: str | None = None, image_ids: list[ImageId] | None = None
    ) -> Json:
        """Deletes what the ids name, one after the other; an id that is asked for twice is one."""
        _check_repository_name(repository_name)
        _check_members(image_ids or [])
        with self._turn:
            repository = self._get_repository(repository_name, registry_id)
            # As it is at the start of the call: deleting the index first in the same call does not help. That an
            # archived index protects its children like any other is a choice.
            parents = _parents(repository.images)
            answer: Json = {"imageIds": [], "failures": []}
            for image_id in _distinct(image_ids or []):
                image = _find(repository, image_id)
                if not isinstance(image, Image):
                    answer["failures"].append({"imageId": image_id, **image})
                    continue
                digest, tag = image.image_digest, image_id.get("imageTag")
                goes = tag is None or image.image_tags == [tag]
                if goes and (indexes := parents.get(digest)):
                    reason = f"Requested image referenced by manifest list: [{', '.join(indexes)}]"
                    answer["failures"].append(
                        {"imageId": image_id, **_failure("ImageReferencedByManifestList", reason)}
                    )
                    continue
                # Digest and tag together: whether ECR removes that tag or the whole image is not established. Here it
                # is as by tag, which deletes less.
                tags = [tag] if tag is not None else list(image.image_tags)
                answer["imageIds"] += [{"imageDigest": digest, "imageTag": name} for name in tags] or [
                    {"imageDigest": digest}
                ]
                if goes:
                    repository.images.remove(image)
                else:
                    _untag(image, tag)
            return answer

    def describe_images_in_pages(
        self,
        repository_name: str,
        registry_id: str | None,
        image_ids: list[ImageId] | None,
        filter_: Json,
        page: slice,
    ) -> tuple[list[Json], bool]:
        """A page of details, and whether there are more; of all the images that are asked for, or of none."""
        with self._turn:
            repository = self._get_repository(repository_name, registry_id)
            if image_ids is not None:
                _check_length("imageIds", len(image_ids), _IMAGE_IDS)
                found = [self._described(repository, image_id) for image_id in image_ids]
                return [_details(image) for image in {image.image_digest: image for image in found}.values()], False
            wanted = {"TAGGED": [True], "UNTAGGED": [False]}.get(filter_.get("tagStatus", "ANY"), [True, False])
            images = [
                image for image in repository.images if bool(image.image_tags) in wanted and _passes(image, filter_)
            ]
            images.sort(key=lambda image: image.image_digest)
            return [_details(image) for image in images[page]], page.stop < len(images)

    def image_ids(self, repository_name: str, registry_id: str | None, filter_: Json) -> list[Json]:
        """Returns an id for each tag, and for each image without tags."""
        with self._turn:
            images = self.list_images(repository_name, registry_id, filter_.get("tagStatus", "ANY"))
            return [
                {"imageDigest": image.image_digest} | ({"imageTag": tag} if tag is not None else {})
                for image in images
                if _passes(image, filter_)
                for tag in image.image_tags or [None]
            ]

    def update_image_storage_class(
        self, repository_name: str, registry_id: str | None, image_id: ImageId, target: str
    ) -> Json:
        """Archives an image, or begins to restore it.

        Choices: an id of no form is an invalid parameter, a tag that another image has is not found, and what refers to
        an image, or is named by it, stays in its own storage class.
        """
        _check_repository_name(repository_name)
        if target not in ecr_storage.STORAGE_CLASSES:
            allowed = f"[{', '.join(ecr_storage.STORAGE_CLASSES)}]"
            _refuse("targetStorageClass", f"Member must satisfy enum value set: {allowed}")
        if "imageTag" in image_id:
            _check_length("imageId.imageTag", len(image_id["imageTag"]), _IMAGE_TAG)
        with self._turn:
            repository = self._get_repository(repository_name, registry_id)
            image = _find(repository, image_id)
            if not isinstance(image, Image):
                if image["failureCode"] not in {"ImageNotFound", "ImageTagDoesNotMatchDigest"}:
                    raise InvalidParameterException(image["failureReason"])
                raise ImageNotFoundException(f"{image_id}", repository_name, self.account_id)
            indexes = [index for index in repository.images if ecr_storage.status(index) != "ARCHIVED"]
            needed = not self.children_can_be_archived and image.image_digest in _parents(indexes)
            ecr_storage.update(image, target, needed=needed, seconds=self.activation_seconds)
            return {
                "registryId": repository.registry_id,
                "repositoryName": repository_name,
                "imageId": {**image_id, "imageDigest": image.image_digest},
                "imageStatus": ecr_storage.status(image),
            }

    def _described(self, repository: Repository, image_id: ImageId) -> Image:
        image = _find(repository, image_id)
        if not isinstance(image, Image):
            raise ImageNotFoundException(f"{image_id}", repository.name, self.account_id)
        return image

    def list_image_referrers(
        self, repository_name: str, registry_id: str | None, subject: str, status: str
    ) -> list[Json]:
        """Returns the artifacts that have this manifest as their subject."""
        with self._turn:
            repository = self._get_repository(repository_name, registry_id)
            manifests = [(image, _parsed(image.image_manifest)) for image in repository.images]
            return [
                {
                    "digest": image.image_digest,
                    "mediaType": image.image_manifest_media_type,
                    "artifactType": manifest.get("artifactType", manifest.get("config", {}).get("mediaType")),
                    "size": len(image.image_manifest),
                    "artifactStatus": ecr_storage.status(image),
                }
                for image, manifest in manifests
                if manifest.get("subject", {}).get("digest") == subject and _passes(image, {"imageStatus": status})
            ]

    def digest_of(self, repository_name: str, tag: str, digest: str | None) -> str | None:
        """Returns the digest of the image that has it, or this tag; None if there is no such image."""
        with self._turn:
            repository = self.repositories.get(repository_name)
            image = repository and (_by_digest(repository, digest) if digest else _by_tag(repository, tag))
            return image.image_digest if image else None

    def put_replication_configuration(self, replication_config: Json) -> Json:
        """Replaces the rules, where moto takes one at most."""
        rules = replication_config["rules"]
        _check_length("replicationConfiguration.rules", len(rules), _REPLICATION_RULES)
        here = {"region": self.region_name, "registryId": self.account_id}
        if any(here in rule["destinations"] for rule in rules):
            _refuse("replicationConfiguration", "Replication destination cannot be the same as the source registry")
        self.replication_config = replication_config
        return {"replicationConfiguration": replication_config}


def _describe_images(response: ECRResponse) -> ActionResult:
    backend: Any = response.ecr_backend
    start = int(response._get_param("nextToken") or 0)  # noqa: SLF001  # how every response of moto's reads
    stop = start + int(response._get_param("maxResults") or _PAGE)  # noqa: SLF001
    details, more = backend.describe_images_in_pages(
        response._get_param("repositoryName"),  # noqa: SLF001
        response._get_param("registryId"),  # noqa: SLF001
        response._get_param("imageIds"),  # noqa: SLF001
        response._get_param("filter") or {},  # noqa: SLF001
        slice(start, stop),
    )
    return ActionResult({"imageDetails": details} | ({"nextToken": str(stop)} if more else {}))


def _list_images(response: ECRResponse) -> ActionResult:
    backend: Any = response.ecr_backend
    image_ids = backend.image_ids(
        response._get_param("repositoryName"),  # noqa: SLF001
        response._get_param("registryId"),  # noqa: SLF001
        response._get_param("filter") or {},  # noqa: SLF001
    )
    return ActionResult({"imageIds": image_ids})


def _list_image_referrers(response: ECRResponse) -> ActionResult:
    backend: Any = response.ecr_backend
    referrers = backend.list_image_referrers(
        response._get_param("repositoryName"),  # noqa: SLF001
        response._get_param("registryId"),  # noqa: SLF001
        response._get_param("subjectId")["imageDigest"],  # noqa: SLF001
        (response._get_param("filter") or {}).get("artifactStatus", "ACTIVE"),  # noqa: SLF001
    )
    return ActionResult({"referrers": referrers})


def _update_image_storage_class(response: ECRResponse) -> ActionResult:
    backend: Any = response.ecr_backend
    updated = backend.update_image_storage_class(
        response._get_param("repositoryName"),  # noqa: SLF001
        response._get_param("registryId"),  # noqa: SLF001
        response._get_param("imageId") or {},  # noqa: SLF001
        response._get_param("targetStorageClass"),  # noqa: SLF001
    )
    return ActionResult(updated)


def install() -> None:
    """From now on moto answers for ECR with this backend; what it had before is forgotten."""
    ECRResponse.describe_images = _describe_images
    ECRResponse.list_images = _list_images
    ECRResponse.list_image_referrers = _list_image_referrers
    ECRResponse.update_image_storage_class = _update_image_storage_class
    ecr_backends.reset()
    ecr_backends.clear()
    ecr_backends.backend = CorrectedECR


def resolve(image_uri: str) -> str | None:
    """Returns the digest that an image's URI means now; None if no registry here has that image."""
    uri = _IMAGE_URI.fullmatch(image_uri)
    if uri is None or uri["region"] not in ecr_backends[uri["account"]]:
        return None
    backend: Any = ecr_backends[uri["account"]][uri["region"]]
    digest: str | None = backend.digest_of(uri["name"], uri["tag"] or "latest", uri["digest"])
    return digest


def repository_uri(image_uri: str) -> str:
    """Returns an image's URI without its tag and digest."""
    return re.split("[:@]", image_uri, maxsplit=1)[0]


def _find(repository: Repository, image_id: ImageId) -> Image | Json:
    """The image that an id names, or the failure that ECR has for it."""
    digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
    if digest is None and tag is None:
        return _failure("MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null")
    if digest is not None and not _DIGEST.fullmatch(digest):
        reason = "image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"
        return _failure("InvalidImageDigest", f"Invalid request parameters: {reason}")
    if tag is not None and not _TAG.fullmatch(tag):
        return _failure(
            "InvalidImageTag", f"Invalid request parameters: image tag should satisfy the regex '{_TAG.pattern}'"
        )
    image = _by_tag(repository, tag) if tag is not None else _by_digest(repository, str(digest))
    if image is None:
        return _failure("ImageNotFound", "Requested image not found")
    if digest is not None and digest != image.image_digest:
        return _failure("ImageTagDoesNotMatchDigest", "Requested image tag does not match the image digest")
    return image


def _failure(code: str, reason: str) -> Json:
    return {"failureCode": code, "failureReason": reason}


def _by_digest(repository: Repository, digest: str) -> Image | None:
    return next((image for image in repository.images if image.image_digest == digest), None)


def _by_tag(repository: Repository, tag: str) -> Image | None:
    return next((image for image in repository.images if tag in image.image_tags), None)


def _untag(image: Image, tag: str | None) -> None:
    image.image_tags.remove(tag)
    image.image_tag = image.image_tags[-1] if image.image_tags else None


def _details(image: Image) -> Json:
    """An image as DescribeImages shows it; without tags there are no imageTags."""
    manifest = _parsed(image.image_manifest)
    parts = [manifest.get("config", {}), *manifest.get("layers", [])]
    details = {
        "registryId": image.registry_id,
        "repositoryName": image.repository_name,
        "imageDigest": image.image_digest,
        "imageTags": list(image.image_tags) or None,
        "imageSizeInBytes": sum(part.get("size", 0) for part in parts),
        "imagePushedAt": image.image_pushed_at,
        "imageManifestMediaType": image.image_manifest_media_type,
        "artifactMediaType": manifest.get("config", {}).get("mediaType"),
        "lastRecordedPullTime": getattr(image, "last_recorded_pull_time", None),
        "subjectManifestDigest": manifest.get("subject", {}).get("digest"),
        **ecr_storage.details(image),
    }
    return {key: value for key, value in details.items() if value is not None}


def _passes(image: Image, filter_: Json) -> bool:
    """Whether a list shows an image, by its status."""
    return filter_.get("imageStatus", "ACTIVE") in {"ANY", ecr_storage.status(image)}


@lru_cache(maxsize=10_000)
def _parsed(manifest: str) -> Json:
    """A manifest, parsed once: each deletion and each list goes through those of the whole repository."""
    parsed: Json = json.loads(manifest)
    return parsed


def _children(manifest: Json) -> list[str]:
    """The digests that an index or manifest list names; none for an image."""
    return [child["digest"] for child in manifest.get("manifests", [])]


def _parents(images: Iterable[Image]) -> dict[str, list[str]]:
    """For each digest the indexes that name it."""
    parents: defaultdict[str, list[str]] = defaultdict(list)
    for image in images:
        for child in _children(_parsed(image.image_manifest)):
            parents[child].append(image.image_digest)
    return parents


def _distinct(image_ids: Sequence[ImageId]) -> list[ImageId]:
    return [image_id for i, image_id in enumerate(image_ids) if image_id not in image_ids[:i]]


def _check_repository_name(name: str) -> None:
    if not re.fullmatch(_REPOSITORY_NAME["pattern"], name):
        _refuse("repositoryName", f"must satisfy regular expression '{_REPOSITORY_NAME['pattern']}'")
    _check_length("repositoryName", len(name), _REPOSITORY_NAME)


def _check_members(image_ids: Sequence[ImageId]) -> None:
    """One bad member costs the others theirs."""
    _check_length("imageIds", len(image_ids), _IMAGE_IDS)
    for i, image_id in enumerate(image_ids, 1):
        if "imageTag" in image_id:
            _check_length(f"imageIds.{i}.member.imageTag", len(image_id["imageTag"]), _IMAGE_TAG)


def _check_length(name: str, length: int, limits: Json) -> None:
    if length < limits["min"]:
        _refuse(name, f"Member must have length greater than or equal to {limits['min']}")
    if length > limits["max"]:
        _refuse(name, f"Member must have length less than or equal to {limits['max']}")


def _refuse(name: str, constraint: str) -> None:
    raise InvalidParameterException(f"Invalid parameter at '{name}' failed to satisfy constraint: '{constraint}'")
