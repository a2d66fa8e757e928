"""Small real images: blobs and manifests as registries take them, of a kilobyte or less. Nothing here calls AWS."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

type Json = dict[str, Any]

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_EMPTY = "application/vnd.oci.empty.v1+json"
_SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer or a config."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """The name of its content."""
        return _digest(self.content)

    @property
    def descriptor(self) -> Json:
        """What a manifest says of it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, and the blobs that it needs."""

    media_type: str
    text: str
    blobs: tuple[Blob, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of the image or the index."""
        return _digest(self.text.encode())

    @property
    def descriptor(self) -> Json:
        """What an index, or what refers to it, says of it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.text)}


def image(content: str, *, architecture: str = "amd64") -> Manifest:
    """An image with one file. The same content gives the same digest; all images share their blobs."""
    config, layer = _config(architecture), _layer()
    return _manifest({
        "mediaType": IMAGE,
        "config": config.descriptor,
        "layers": [layer.descriptor],
        "annotations": {"org.opencontainers.image.title": content},
    }, config, layer)  # fmt: skip


def index(children: Sequence[Manifest]) -> Manifest:
    """An index of images, or of other indexes."""
    platforms = ({"os": "linux", "architecture": name} for name in ("amd64", "arm64", "s390x", "ppc64le"))
    named = [child.descriptor | {"platform": platform} for child, platform in zip(children, platforms, strict=False)]
    return _manifest({"mediaType": INDEX, "manifests": named})


def referrer(subject: Manifest) -> Manifest:
    """A signature as OCI 1.1 has it: an artifact with a subject."""
    empty, payload = Blob(_EMPTY, b"{}"), _payload(subject)
    return _manifest({
        "mediaType": IMAGE,
        "artifactType": _SIGNATURE_ARTIFACT,
        "config": empty.descriptor,
        "layers": [payload.descriptor],
        "subject": subject.descriptor,
    }, empty, payload)  # fmt: skip


def signature(subject: Manifest) -> Manifest:
    """A signature as cosign stores it under `signature_tag`, without a subject."""
    config, payload = _config("amd64"), _payload(subject)
    return _manifest({
        "mediaType": IMAGE, "config": config.descriptor, "layers": [payload.descriptor],
    }, config, payload)  # fmt: skip


def signature_tag(subject: Manifest) -> str:
    """The tag by which cosign finds a signature."""
    return f"{subject.digest.replace(':', '-')}.sig"


def _manifest(body: Json, *blobs: Blob) -> Manifest:
    return Manifest(body["mediaType"], json.dumps({"schemaVersion": 2, **body}), blobs)


def _config(architecture: str) -> Blob:
    diff_id = _digest(gzip.decompress(_layer().content))
    body = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "acceptance"}],
    }
    return Blob(_CONFIG, json.dumps(body).encode())


def _layer() -> Blob:
    """A layer with one small file, the same at each call."""
    archive, content = io.BytesIO(), b"hello\n"
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("hello")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return Blob(_LAYER, gzip.compress(archive.getvalue(), mtime=0))


def _payload(subject: Manifest) -> Blob:
    body = {
        "critical": {"image": {"docker-manifest-digest": subject.digest}, "type": "cosign container image signature"}
    }
    return Blob(_SIGNATURE, json.dumps(body).encode())


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
