"""Repositories of a run: made with its tag, filled through ECR's API as a registry client does, and looked at."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from . import images
from .aws import Clients, code_of, ignoring
from .images import Blob, Manifest
from .names import Run

type ImageId = dict[str, str]
type Images = set[tuple[str, tuple[str, ...]]]
"""The digest and the sorted tags of each image."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A multi-architecture image with everything that can belong to it."""

    index: Manifest
    children: tuple[Manifest, ...]
    signatures: tuple[Manifest, ...]
    """One that has the index as its subject, and one that says by its tag what it signs."""

    @property
    def all(self) -> tuple[Manifest, ...]:
        """Everything of it."""
        return (self.index, *self.children, *self.signatures)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of this run."""

    ecr: Any
    name: str
    _uploaded: set[str] = field(default_factory=set, compare=False)
    """Digests of the blobs that are there already."""

    def push(self, manifest: Manifest, *tags: str) -> str:
        """Pushes a manifest with any number of tags, also none; returns its digest."""
        for blob in manifest.blobs:
            self._upload(blob)
        for tag in tags or [None]:
            tagged = {} if tag is None else {"imageTag": tag}
            with ignoring("ImageAlreadyExists"):
                self.ecr.put_image(
                    repositoryName=self.name,
                    imageManifest=manifest.text,
                    imageManifestMediaType=manifest.media_type,
                    **tagged,
                )
        return manifest.digest

    def push_image(self, content: str, *tags: str) -> str:
        """Pushes an image of that content."""
        return self.push(images.image(content), *tags)

    def push_signed(self, content: str, *tags: str) -> Signed:
        """Pushes an index of two images, its signature by subject, and another by tag."""
        children = tuple(images.image(content, architecture=name) for name in ("amd64", "arm64"))
        for child in children:
            self.push(child)
        index = images.index(children)
        self.push(index, *tags)
        by_subject, by_tag = images.referrer(index), images.signature(index)
        self.push(by_subject)
        self.push(by_tag, images.signature_tag(index))
        return Signed(index, children, (by_subject, by_tag))

    def push_nested(self, content: str, *tags: str) -> tuple[Manifest, ...]:
        """Pushes an index of an index of an image; returns the outer one first."""
        image = images.image(content)
        inner = images.index([image])
        outer = images.index([inner])
        self.push(image)
        self.push(inner)
        self.push(outer, *tags)
        return outer, inner, image

    def delete(self, *image_ids: ImageId) -> Any:
        """Calls BatchDeleteImage itself, as the CLI does; returns its response."""
        return self.ecr.batch_delete_image(repositoryName=self.name, imageIds=list(image_ids))

    def read(self, *image_ids: ImageId) -> Any:
        """Calls BatchGetImage; returns its response."""
        return self.ecr.batch_get_image(repositoryName=self.name, imageIds=list(image_ids))

    def move(self, digest: str, storage_class: str) -> Any:
        """Calls UpdateImageStorageClass; returns its response."""
        image_id = {"imageDigest": digest}
        return self.ecr.update_image_storage_class(
            repositoryName=self.name, imageId=image_id, targetStorageClass=storage_class
        )

    def images(self) -> Images:
        """Everything that is in it, archived images too."""
        return {(image["imageDigest"], tuple(sorted(image.get("imageTags", [])))) for image in self.described()}

    def described(self, status: str = "ANY") -> list[dict[str, Any]]:
        """Returns what DescribeImages says of each image with this status."""
        pages = self.ecr.get_paginator("describe_images").paginate(
            repositoryName=self.name, filter={"imageStatus": status}
        )
        return [image for page in pages for image in page["imageDetails"]]

    def tags(self) -> set[str]:
        """All tags that it has."""
        return {tag for _, tags in self.images() for tag in tags}

    def status(self, digest: str) -> str:
        """Returns the storage status of an image."""
        return next(str(image["imageStatus"]) for image in self.described() if image["imageDigest"] == digest)

    def _upload(self, blob: Blob) -> None:
        """Uploads a blob in one part, unless it is there."""
        if blob.digest in self._uploaded:
            return
        upload_id = self.ecr.initiate_layer_upload(repositoryName=self.name)["uploadId"]
        self.ecr.upload_layer_part(
            repositoryName=self.name,
            uploadId=upload_id,
            partFirstByte=0,
            partLastByte=len(blob.content) - 1,
            layerPartBlob=blob.content,
        )
        with ignoring("LayerAlreadyExists"):
            self.ecr.complete_layer_upload(repositoryName=self.name, uploadId=upload_id, layerDigests=[blob.digest])
        self._uploaded.add(blob.digest)


def create(clients: Clients, run: Run, name: str, region: str = "") -> Repository:
    """Creates a repository with the tag of this run."""
    ecr, full_name = clients("ecr", region), run.repository(name)
    ecr.create_repository(repositoryName=full_name, tags=run.tag_list)
    return Repository(ecr, full_name)


def under(ecr: Any, prefix: str) -> Iterable[tuple[str, str]]:
    """Returns the name and the ARN of each repository that begins so."""
    pages = ecr.get_paginator("describe_repositories").paginate()
    return [
        (repository["repositoryName"], repository["repositoryArn"])
        for page in pages
        for repository in page["repositories"]
        if repository["repositoryName"].startswith(prefix)
    ]


def tags_of(ecr: Any, arn: str) -> dict[str, str]:
    """Returns the tags of a repository; none if it is gone."""
    try:
        return {tag["Key"]: tag["Value"] for tag in ecr.list_tags_for_resource(resourceArn=arn)["tags"]}
    except ClientError as error:
        if "NotFound" not in code_of(error):
            raise
        return {}
