"""ECR in memory, by operation: what the real one is known to do with images, and no more.

`tests/functional/test_fakes_and_moto.py` holds it to the embedded ECR, which is moto's, corrected.
"""

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.errors import ServiceError

type Json = dict[str, Any]

CALL_LIMIT = 100
"""Image ids that a call takes."""
DAY = 86_400.0
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

_DIGEST = re.compile(r"[a-zA-Z0-9-_+.]+:[a-fA-F0-9]{64}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]*")
_TAG_CHARACTERS = 300


@dataclass
class FakeImage:
    """An image; times are in seconds since the epoch."""

    tags: set[str]
    pushed: float
    children: tuple[str, ...] = ()
    """The digests that it names, if it is an index."""
    subject: str | None = None
    """The digest that it refers to, if it is a signature."""
    manifest: str | None = None
    """Its text, where it is not one that follows from the rest."""
    pulled: float | None = None
    archived: float | None = None
    activated: float | None = None
    """When it was restored; of one that is ACTIVATING, when it will have been."""
    status: str = "ACTIVE"
    """What was last said of it; one that is ACTIVATING becomes active by itself, unless `activated` is not known."""
    size: int = 1
    failure: str | None = None
    """The code under which ECR cannot show its manifest, such as that of a key that is gone."""

    def text(self) -> str:
        """Its manifest."""
        if self.manifest is not None:
            return self.manifest
        value: Json = {"mediaType": INDEX if self.children else MANIFEST}
        if self.children:
            value["manifests"] = [{"digest": child} for child in self.children]
        if self.subject:
            value["subject"] = {"digest": self.subject}
        return json.dumps(value)

    def current_status(self) -> str:
        """ACTIVE, ARCHIVED or ACTIVATING, as it is now."""
        restored = self.status == "ACTIVATING" and self.activated is not None and self.activated <= time.time()
        return "ACTIVE" if restored else self.status


@dataclass
class FakeECR:
    """The repositories of one registry."""

    repositories: dict[str, dict[str, FakeImage]] = field(default_factory=lambda: defaultdict(dict))
    page: int = 100
    """Images or repositories in one page; ECR may give fewer than it is asked for."""
    pushes: int = 0
    """How many images were ever pushed."""
    digest_outweighs_tag: bool = False
    """Digest and tag together take the whole image, not the tag: which of the two ECR does is not established."""
    archived_image_failure: str | None = "ImageInaccessible"
    """What BatchGetImage answers for an image that is not active, None for its manifest. Not established either; this
    and the next two are as in `local.ecr_storage`."""
    children_can_be_archived: bool = False
    """A manifest can be archived while an index names it that is not archived."""
    activation_seconds: float = 20 * 60
    """How long it takes to restore an image."""
    _tags: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """By repository and tag, for repositories of thousands of images."""

    def push(  # what an image can be
        self,
        repository: str,
        *tags: str,
        days: float = 1,
        children: Iterable[str] = (),
        subject: str | None = None,
        digest: str | None = None,
        **more: Any,
    ) -> str:
        """Pushes a new image that is so many days old, under any number of tags; returns its digest."""
        self.pushes += 1
        digest = digest or f"sha256:{self.pushes << 32:064x}"
        for tag in tags:
            self._take(repository, tag)
        image = FakeImage(set(tags), time.time() - days * DAY, tuple(children), subject, **more)
        self.repositories[repository][digest] = image
        self._tags[repository] |= dict.fromkeys(tags, digest)
        return digest

    def tag(self, repository: str, digest: str, tag: str) -> None:
        """Puts a tag on an image, wherever it was before."""
        self._take(repository, tag)
        self.repositories[repository][digest].tags.add(tag)
        self._tags[repository][tag] = digest

    def push_again(self, repository: str, digest: str) -> None:
        """Pushes an image that is there, which restores it at once from the archive."""
        image = self.repositories[repository][digest]
        if image.current_status() != "ACTIVE":
            image.status, image.activated = "ACTIVE", time.time()

    def tags(self, repository: str) -> set[str]:
        return set(self._tags[repository])

    def digests(self, repository: str) -> set[str]:
        return set(self.repositories[repository])

    def archived(self, repository: str) -> set[str]:
        """The digests in the archive."""
        images = self.repositories[repository]
        return {digest for digest, image in images.items() if image.current_status() == "ARCHIVED"}

    def names(self, repository: str) -> set[str]:
        """All tags and all digests."""
        return self.tags(repository) | self.digests(repository)

    def find(self, repository: str, image_id: Mapping[str, str]) -> str | None:
        """The digest of the image that an id names, by its tag where it has one."""
        if (tag := image_id.get("imageTag")) is not None:
            return self._tags[repository].get(tag)
        digest = image_id.get("imageDigest")
        return digest if digest in self.repositories[repository] else None

    def call(self, operation: str, parameters: Json) -> Json:
        """Answers one call; raises ServiceError."""
        operations: dict[str, Callable[[Json], Json]] = {
            "BatchDeleteImage": self._batch_delete_image,
            "BatchGetImage": self._batch_get_image,
            "DescribeImages": self._describe_images,
            "DescribeRegistry": lambda _: {"registryId": "123456789012", "replicationConfiguration": {"rules": []}},
            "DescribeRepositories": self._describe_repositories,
            "ListImageReferrers": self._list_image_referrers,
            "UpdateImageStorageClass": self._update_image_storage_class,
        }
        repository = parameters.get("repositoryName")
        if repository is not None and repository not in self.repositories:
            raise ServiceError(400, "RepositoryNotFoundException")
        return operations[operation](parameters)

    def _take(self, repository: str, tag: str) -> None:
        """Takes a tag off the image that has it; the image stays, though without tags."""
        if digest := self._tags[repository].pop(tag, None):
            self.repositories[repository][digest].tags.discard(tag)

    def _batch_delete_image(self, call: Json) -> Json:
        repository = call["repositoryName"]
        images = self.repositories[repository]
        _check(call["imageIds"])
        # As it is at the start of the call: deleting the index first in the same call does not help.
        needed = {child for image in images.values() for child in image.children}
        gone: list[Json] = []
        failures: list[Json] = []
        for image_id in _distinct(call["imageIds"]):
            digest = self.find(repository, image_id)
            if digest is None or image_id.get("imageDigest", digest) != digest:
                failures.append(_failure(image_id, digest))
                continue
            image = images[digest]
            by_tag = "imageTag" in image_id and not (self.digest_outweighs_tag and "imageDigest" in image_id)
            going = {image_id["imageTag"]} if by_tag else set(image.tags)
            if digest in needed and going == image.tags:
                failures.append(_failed(image_id, "ImageReferencedByManifestList", "Requested image is referenced"))
                continue
            gone += [{"imageDigest": digest, "imageTag": tag} for tag in sorted(going)] or [{"imageDigest": digest}]
            for tag in going:
                self._take(repository, tag)
            if not image.tags:
                del images[digest]
        return {"imageIds": gone, "failures": failures}

    def _batch_get_image(self, call: Json) -> Json:
        repository = call["repositoryName"]
        _check(call["imageIds"])
        found: list[Json] = []
        failures: list[Json] = []
        for image_id in call["imageIds"]:
            digest = self.find(repository, image_id)
            if digest is None or image_id.get("imageDigest", digest) != digest:
                failures.append(_failure(image_id, digest))
            elif code := self._unreadable(self.repositories[repository][digest]):
                failures.append(_failed(image_id, code, "The manifest cannot be shown"))
            else:
                manifest = self.repositories[repository][digest].text()
                found.append({"imageId": {**image_id, "imageDigest": digest}, "imageManifest": manifest})
        return {"images": found, "failures": failures}

    def _unreadable(self, image: FakeImage) -> str | None:
        """The code under which ECR does not show a manifest; None if it does."""
        return image.failure or (self.archived_image_failure if image.current_status() != "ACTIVE" else None)

    def _describe_images(self, call: Json) -> Json:
        repository = call["repositoryName"]
        images = self.repositories[repository]
        if "imageIds" in call:
            _check(call["imageIds"])
            # Whether the filter holds for images that are asked for by id is not established. It does here, unlike in
            # the embedded ECR, so that who wants to see them all says so.
            digests = dict.fromkeys(self.find(repository, image_id) for image_id in call["imageIds"])
            found = [digest for digest in digests if digest and _shown(images[digest], call.get("filter", {}))]
            if len(found) < len(digests):
                raise ServiceError(400, "ImageNotFoundException")
            return {"imageDetails": [_detail(digest, images[digest]) for digest in found]}
        shown = [d for d, image in images.items() if _shown(image, call.get("filter", {}))]
        page, more = self._paged(shown, call)
        return {"imageDetails": [_detail(digest, images[digest]) for digest in page], **more}

    def _describe_repositories(self, call: Json) -> Json:
        page, more = self._paged(sorted(self.repositories), call)
        return {"repositories": [{"repositoryName": name} for name in page], **more}

    def _list_image_referrers(self, call: Json) -> Json:
        images, subject = self.repositories[call["repositoryName"]], call["subjectId"]["imageDigest"]
        wanted = {"imageStatus": call.get("filter", {}).get("artifactStatus", "ACTIVE")}
        shown = [d for d, image in images.items() if image.subject == subject and _shown(image, wanted)]
        page, more = self._paged(shown, call)
        return {"referrers": [{"digest": digest} for digest in page], **more}

    def _update_image_storage_class(self, call: Json) -> Json:
        repository, image_id, target = call["repositoryName"], call["imageId"], call["targetStorageClass"]
        _check([image_id])
        digest = self.find(repository, image_id)
        if target not in {"STANDARD", "ARCHIVE"}:
            raise ServiceError(400, "InvalidParameterException")
        if digest is None or image_id.get("imageDigest", digest) != digest:
            absent = _failure(image_id, digest)["failureCode"] in {"ImageNotFound", "ImageTagDoesNotMatchDigest"}
            raise ServiceError(400, "ImageNotFoundException" if absent else "InvalidParameterException")
        images = self.repositories[repository]
        image = images[digest]
        match target, image.current_status():
            case "ARCHIVE", "ACTIVATING":
                raise ServiceError(400, "ImageStorageClassUpdateNotSupportedException")
            case "ARCHIVE", "ACTIVE":
                indexes = [index for index in images.values() if index.current_status() != "ARCHIVED"]
                if not self.children_can_be_archived and any(digest in index.children for index in indexes):
                    raise ServiceError(400, "ImageStorageClassUpdateNotSupportedException")
                image.status, image.archived = "ARCHIVED", time.time()
            case "STANDARD", "ARCHIVED":
                image.status, image.activated = "ACTIVATING", time.time() + self.activation_seconds
        return {
            "repositoryName": repository,
            "imageId": {**image_id, "imageDigest": digest},
            "imageStatus": image.current_status(),
        }

    def _paged(self, items: list[str], call: Json) -> tuple[list[str], Json]:
        start = int(call.get("nextToken", 0))
        stop = start + min(self.page, call.get("maxResults", CALL_LIMIT))
        return items[start:stop], {"nextToken": str(stop)} if stop < len(items) else {}


def _shown(image: FakeImage, wanted: Json) -> bool:
    tagged = {"TAGGED": [True], "UNTAGGED": [False]}.get(wanted.get("tagStatus", "ANY"), [True, False])
    return wanted.get("imageStatus", "ACTIVE") in {"ANY", image.current_status()} and bool(image.tags) in tagged


def _detail(digest: str, image: FakeImage) -> Json:
    """Returns the details of an image as ECR says them; of its push, whole seconds."""
    restored = image.activated is not None and image.activated <= time.time()
    detail: Json = {
        "imageDigest": digest,
        "imageTags": sorted(image.tags) or None,
        "imagePushedAt": int(image.pushed),
        "imageSizeInBytes": image.size,
        "imageManifestMediaType": INDEX if image.children else MANIFEST,
        "lastRecordedPullTime": image.pulled,
        "lastArchivedAt": image.archived,
        "lastActivatedAt": image.activated if restored else None,
        "subjectManifestDigest": image.subject,
        "imageStatus": image.current_status(),
    }
    return {key: value for key, value in detail.items() if value is not None}


def _failure(image_id: Mapping[str, str], digest: str | None) -> Json:
    """The failure of an id that names no image, or whose tag names another than its digest."""
    own, tag = image_id.get("imageDigest"), image_id.get("imageTag")
    if own is None and tag is None:
        return _failed(image_id, "MissingDigestAndTag", "both tag and digest cannot be null")
    if own is not None and not _DIGEST.fullmatch(own):
        return _failed(image_id, "InvalidImageDigest", "image digest should satisfy the regex")
    if tag is not None and not _TAG.fullmatch(tag):
        return _failed(image_id, "InvalidImageTag", "image tag should satisfy the regex")
    if digest is None:
        return _failed(image_id, "ImageNotFound", "Requested image not found")
    return _failed(image_id, "ImageTagDoesNotMatchDigest", "Requested image tag does not match the image digest")


def _failed(image_id: Mapping[str, str], code: str, reason: str) -> Json:
    return {"imageId": dict(image_id), "failureCode": code, "failureReason": reason}


def _distinct(image_ids: Iterable[Json]) -> list[Json]:
    return list({(i.get("imageDigest"), i.get("imageTag")): i for i in image_ids}.values())


def _check(image_ids: list[Json]) -> None:
    """One bad member fails the whole call."""
    if not 0 < len(image_ids) <= CALL_LIMIT:
        raise ServiceError(400, "InvalidParameterException")
    for image_id in image_ids:
        if not 0 < len(image_id.get("imageTag", "x")) <= _TAG_CHARACTERS:
            raise ServiceError(400, "InvalidParameterException")
