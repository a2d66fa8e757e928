"""Images for repositories of the embedded AWS: how to push some, and the samples of the demo."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .workloads import deploy_service, image_uri

if TYPE_CHECKING:
    from .aws import EmbeddedAWS

type Json = dict[str, Any]

_IMAGE = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"
"""The type of the only layer of a signature."""
_ARCHITECTURES = ("amd64", "arm64", "s390x", "ppc64le", "riscv64")


def push_image(
    ecr: Any, repository: str, *, tags: Sequence[str] = (), content: str | None = None, layer_type: str = _LAYER
) -> str:
    """Pushes an image with any number of tags, also none, and returns its digest.

    Its content is its own, unless `content` names it: the same content has the same digest.
    """
    layer = (content or str(uuid4())).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _IMAGE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", b"config of " + layer),
        "layers": [_descriptor(layer_type, layer)],
    }
    return _put(ecr, repository, manifest, tags)


def push_index(ecr: Any, repository: str, children: Sequence[str], *, tags: Sequence[str] = ()) -> str:
    """Pushes an index of manifests that are in the repository, images or indexes, and returns its digest."""
    manifests = []
    for digest, architecture in zip(children, itertools.cycle(_ARCHITECTURES), strict=False):
        [child] = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])["images"]
        manifest = json.loads(child["imageManifest"])
        # An artifact, such as a signature, says of what type it is; an image, for which platform.
        what = (
            {"artifactType": manifest["artifactType"]}
            if "artifactType" in manifest
            else {"platform": {"os": "linux", "architecture": architecture}}
        )
        manifests.append({
            "mediaType": child["imageManifestMediaType"],
            "digest": digest,
            "size": len(child["imageManifest"]),
            **what,
        })  # fmt: skip
    return _put(ecr, repository, {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}, tags)


def push_referrer(ecr: Any, repository: str, subject: str, *, tags: Sequence[str] = ()) -> str:
    """Pushes a signature of a manifest, as OCI 1.1 has it: one that names the manifest as its subject."""
    [image] = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": subject}])["images"]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _IMAGE,
        "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
        "config": _descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [_descriptor(SIGNATURE, str(uuid4()).encode())],
        "subject": {
            "mediaType": image["imageManifestMediaType"],
            "digest": subject,
            "size": len(image["imageManifest"]),
        },
    }
    return _put(ecr, repository, manifest, tags)


def push_samples(ecr: Any) -> None:
    """The images that the requests in events/ name, and others that must stay. Their digests are always the same."""
    for repository, images in SAMPLES.items():
        ecr.create_repository(repositoryName=repository)
        for tags in images:
            push_image(ecr, repository, tags=tags, content=f"{repository} {' '.join(tags)}")
    for version in ("1.0", "1.1"):
        children = [push_image(ecr, "team/app", content=f"team/app {version} {name}") for name in _ARCHITECTURES[:2]]
        push_index(ecr, "team/app", children, tags=[version])


SAMPLES: dict[str, list[list[str]]] = {
    "ubuntu": [["precise"], ["trusty", "14.04"], ["xenial", "16.04", "latest"]],
    "my-repository": [["prod"], ["team1"], ["team2"]],
    "team/app": [["latest"], ["nightly"], *([f"pr-{number}"] for number in range(1, 7)), []],
}
"""The tags of each image; one image has none."""


def push_previews(aws: "EmbeddedAWS") -> None:
    """A repository worth selecting from: previews of many ages, one of them for two platforms, releases, and strays."""
    ecr, repository = aws.client("ecr"), "team/web"
    ecr.create_repository(repositoryName=repository)
    for tags, days in _PREVIEWS:
        aws.age(repository, push_image(ecr, repository, tags=tags, content=f"{repository} {tags} {days}"), days=days)
    children = [push_image(ecr, repository, content=f"{repository} pr-15 {name}") for name in _ARCHITECTURES[:2]]
    for digest in (*children, push_index(ecr, repository, children, tags=["pr-15"])):
        aws.age(repository, digest, days=29)


_PREVIEWS: list[tuple[list[str], float]] = [
    *(([tag], 90.0) for tag in ("release-1.0", "release-1.1")),
    (["main"], 1.0),
    (["pr-12"], 40.0),
    (["pr-13", "pr-13-keep"], 35.0),
    (["pr-14"], 31.0),
    (["pr-18"], 16.0),
    (["pr-19"], 15.0),
    (["pr-20"], 3.0),
    *(([], days) for days in (60.0, 20.0, 2.0)),
]
"""The tags of each image, and its age in days."""


def push_running(aws: "EmbeddedAWS") -> str:
    """A repository of which an image runs that has lost its tag to a newer one; returns its digest."""
    ecr, repository = aws.client("ecr"), "team/api"
    ecr.create_repository(repositoryName=repository)
    aws.age(repository, push_image(ecr, repository, content=f"{repository} never deployed"), days=40)
    running = push_image(ecr, repository, tags=["v1"], content=f"{repository} v1, deployed")
    aws.age(repository, running, days=30)
    deploy_service(aws, "prod", "api", image_uri(repository, "v1"))
    for tag, content in (("v1", "v1, again"), ("v2", "v2"), ("v3", "v3")):
        push_image(ecr, repository, tags=[tag], content=f"{repository} {content}")
    return running


def _put(ecr: Any, repository: str, manifest: Json, tags: Sequence[str]) -> str:
    text = json.dumps(manifest)
    images = [
        ecr.put_image(repositoryName=repository, imageManifest=text, **tagged)["image"]
        for tagged in [{"imageTag": tag} for tag in tags] or [{}]
    ]
    digest: str = images[0]["imageId"]["imageDigest"]
    return digest


def _descriptor(media_type: str, content: bytes) -> Json:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}
