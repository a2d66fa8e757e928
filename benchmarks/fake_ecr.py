"""ECR in memory, as far as the function and what it is compared with use it.

It answers as the real one does: 100 ids a call, an entry with digest and tag for each; an image is deleted once, and
none that an index still names. Every tag names an image of its own until it is deleted, so nothing needs to be pushed.

Numbers stand in the names of repositories: `listing/N/...` has N tagged images to be listed, and `indexes/N/...` has N
tagged indexes, each of which names two untagged images. The first are the newest. Nothing is in the archive.
"""

import hashlib
import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from benchmarks.function_under_test import CHUNK_SIZE

type Json = dict[str, Any]

PAGE = 1_000
"""Images that ECR lists in one call."""
PLATFORMS = 2
"""Images that each index names."""
_REPOSITORY = re.compile(r"(listing|indexes)/(\d+)/")
_TAG = re.compile(r"build-(\d+)")
_IMAGE, _INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
_LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{0:064x}", "size": 5_000_000}
_MANIFEST = json.dumps({
    "schemaVersion": 2,
    "mediaType": _IMAGE,
    "config": {**_LAYER, "mediaType": "application/vnd.oci.image.config.v1+json"},
    "layers": [_LAYER] * 8,
})  # fmt: skip
"""That of every image that is no index: about as long as real ones."""
_ALL = 1 << 256
_SPREAD = int(hashlib.sha256(b"digests").hexdigest(), 16) | 1
"""Times this, the numbers of images are as far apart as real digests; odd, so that it has an inverse."""
_GATHER = pow(_SPREAD, -1, _ALL)


class ServiceError(Exception):
    """An error that a service responds with: its HTTP status, its code, and further members of the response."""

    def __init__(self, status: int, code: str, message: str, **members: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"__type": code, "message": message, **members}


class Listed(NamedTuple):
    """The images that a repository has beside those that are merely named: each has a number."""

    tags: int
    """How many have a tag."""
    each: int = 1
    """Numbers from one tagged image to the next; those between them are what it names."""

    @classmethod
    @lru_cache(1024)
    def of(cls, repository: str) -> "Listed":
        """Returns those of a repository, by its name."""
        found = _REPOSITORY.search(repository)
        return cls(0) if not found else cls(int(found[2]), 1 if found[1] == "listing" else 1 + PLATFORMS)

    @property
    def total(self) -> int:
        return self.tags * self.each

    def numbers(self, tag_status: str) -> range:
        """Returns the numbers among which those with a tag, without one, or "ANY" are; see `shows`."""
        if tag_status == "UNTAGGED" and self.each == 1:
            return range(0)
        return range(0, self.total, self.each) if tag_status == "TAGGED" else range(self.total)

    def shows(self, number: int, tag_status: str) -> bool:
        """Returns whether an image with this number is listed."""
        return tag_status != "UNTAGGED" or self.tag(number) is None

    def tag(self, number: int) -> str | None:
        """Returns an image's tag, if it has one."""
        return None if number % self.each else f"build-{number // self.each}"

    def digest_of(self, tag: str) -> str:
        """Returns the digest of what a tag names."""
        found = _TAG.fullmatch(tag)
        if found and int(found[1]) < self.tags:
            return _digest(int(found[1]) * self.each)
        return f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"

    def number_of(self, digest: str) -> int | None:
        """Returns an image's number; None for one that is not listed."""
        number = int(digest.removeprefix("sha256:"), 16) * _GATHER % _ALL
        return number if number < self.total else None

    def named_by(self, number: int) -> list[str]:
        """Returns the digests that an index names; none for an image that is no index."""
        return [] if number % self.each else [_digest(number + n) for n in range(1, self.each)]

    def index_of(self, number: int) -> str | None:
        """Returns the digest of the index that names an image; None where none does."""
        return _digest(number - number % self.each) if number % self.each else None


class FakeECR:
    """Repositories in which every tag names an image."""

    def __init__(self) -> None:
        self._began = int(time.time())
        self._deleted: dict[str, set[str]] = defaultdict(set)

    def batch_delete_image(self, call: Json) -> Json:
        if len(call["imageIds"]) > CHUNK_SIZE:
            message = "Member must have length less than or equal to 100"
            raise ServiceError(400, "InvalidParameterException", message)
        listed, deleted = Listed.of(call["repositoryName"]), self._deleted[call["repositoryName"]]
        there, failures = self._found(call)
        gone = []
        for image_id in there:
            number = listed.number_of(image_id["imageDigest"])
            index = None if number is None else listed.index_of(number)
            if index and index not in deleted:
                why = f"Requested image referenced by manifest list: [{index}]"
                failures.append(_failure(image_id, "ImageReferencedByManifestList", why))
            else:
                gone.append(image_id)
        deleted.update(image_id["imageDigest"] for image_id in gone)
        return {"imageIds": gone, "failures": failures}

    def batch_get_image(self, call: Json) -> Json:
        listed = Listed.of(call["repositoryName"])
        there, failures = self._found(call)
        images = [{"imageId": i, **_manifest(listed, listed.number_of(i["imageDigest"]))} for i in there]
        return {"images": images, "failures": failures}

    def describe_images(self, call: Json) -> Json:
        """Returns the images that are named, or a page of all that the filter means."""
        listed = Listed.of(call["repositoryName"])
        if "imageIds" not in call:
            page, rest = self._page(call, listed)
            return {"imageDetails": [self._detail(call, listed, n, _digest(n), listed.tag(n)) for n in page], **rest}
        there, failures = self._found(call)
        if failures:
            raise ServiceError(400, "ImageNotFoundException", "Requested image not found")
        named = [(i["imageDigest"], i.get("imageTag")) for i in there]
        return {"imageDetails": [self._detail(call, listed, listed.number_of(d), d, tag) for d, tag in named]}

    def list_images(self, call: Json) -> Json:
        listed = Listed.of(call["repositoryName"])
        page, rest = self._page(call, listed)
        ids = [{"imageDigest": _digest(n)} | ({"imageTag": tag} if (tag := listed.tag(n)) else {}) for n in page]
        return {"imageIds": ids, **rest}

    def _found(self, call: Json) -> tuple[list[Json], list[Json]]:
        """Returns the ids whose images are there, with their digests, and the failures of the others."""
        listed, deleted = Listed.of(call["repositoryName"]), self._deleted[call["repositoryName"]]
        there, failures = [], []
        for image_id in call["imageIds"]:
            digest = image_id.get("imageDigest") or listed.digest_of(image_id["imageTag"])
            if digest in deleted:
                failures.append(_failure(image_id, "ImageNotFound", "Requested image not found"))
            else:
                there.append({"imageDigest": digest, **image_id})
        return there, failures

    def _page(self, call: Json, listed: Listed) -> tuple[list[int], Json]:
        """Returns the numbers of the images on the page that is asked for, and where the next begins."""
        wanted = call.get("filter", {})
        if wanted.get("imageStatus", "ACTIVE") not in {"ACTIVE", "ANY"}:
            return [], {}
        status, limit = wanted.get("tagStatus", "ANY"), min(call.get("maxResults", CHUNK_SIZE), PAGE)
        numbers, deleted = listed.numbers(status), self._deleted[call["repositoryName"]]
        page: list[int] = []
        for number in numbers[int(call.get("nextToken", 0)) // numbers.step :]:
            if listed.shows(number, status) and not (deleted and _digest(number) in deleted):
                if len(page) == limit:
                    return page, {"nextToken": str(number)}
                page.append(number)
        return page, {}

    def _detail(self, call: Json, listed: Listed, number: int | None, digest: str, tag: str | None) -> Json:
        """Returns an image as DescribeImages shows it: with its tag, by whichever id it was asked for."""
        is_index = number is not None and bool(listed.named_by(number))
        tag = tag if number is None else listed.tag(number)
        return {
            "registryId": "123456789012",
            "repositoryName": call["repositoryName"],
            "imageDigest": digest,
            **({"imageTags": [tag]} if tag else {}),
            "imageSizeInBytes": 50_000_000,
            "imagePushedAt": self._began - (86_400 if number is None else number),
            "imageManifestMediaType": _INDEX if is_index else _IMAGE,
            **({} if is_index else {"artifactMediaType": "application/vnd.oci.image.config.v1+json"}),
            "imageStatus": "ACTIVE",
        }


def _manifest(listed: Listed, number: int | None) -> Json:
    """Returns an image's manifest, and of which kind it is."""
    named = [] if number is None else listed.named_by(number)
    if not named:
        return {"imageManifest": _MANIFEST, "imageManifestMediaType": _IMAGE}
    manifests = [
        {
            "mediaType": _IMAGE,
            "digest": digest,
            "size": 1_600,
            "platform": {"os": "linux", "architecture": architecture},
        }
        for digest, architecture in zip(named, ("amd64", "arm64"), strict=True)
    ]
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
    return {"imageManifest": json.dumps(index), "imageManifestMediaType": _INDEX}


def _failure(image_id: Mapping[str, str], code: str, reason: str) -> Json:
    return {"imageId": image_id, "failureCode": code, "failureReason": reason}


def _digest(number: int) -> str:
    """Returns the digest of the image with a number."""
    return f"sha256:{number * _SPREAD % _ALL:064x}"
