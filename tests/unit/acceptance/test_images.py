"""Images are real ones: what a manifest says of its blobs is so, and each part can be read."""

import gzip
import hashlib
import io
import json
import tarfile

from acceptance import images


def sha256(content: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_an_image() -> None:
    """Its digest is that of its text, and its blobs have the digests and sizes that it names."""
    image = images.image("one")
    manifest = json.loads(image.text)
    assert image.digest == sha256(image.text.encode())
    assert manifest["mediaType"] == image.media_type
    named = [manifest["config"], *manifest["layers"]]
    assert named == [blob.descriptor for blob in image.blobs]
    assert [part["digest"] for part in named] == [sha256(blob.content) for blob in image.blobs]
    config, layer = (blob.content for blob in image.blobs)
    assert json.loads(config)["rootfs"]["diff_ids"] == [sha256(gzip.decompress(layer))]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getnames() == ["hello"]
    assert sum(len(blob.content) for blob in image.blobs) + len(image.text) < 2_000


def test_the_same_content_is_the_same_image() -> None:
    """So that twins can be made; other content, or another architecture, is another image with the same layer."""
    assert images.image("one") == images.image("one")
    others = {images.image("one").digest, images.image("two").digest, images.image("one", architecture="arm64").digest}
    assert len(others) == 3
    assert images.image("one").blobs == images.image("two").blobs


def test_an_index_names_its_children() -> None:
    """By digest and size, also where a child is an index itself."""
    child = images.image("child")
    inner = images.index([child])
    outer = images.index([inner, images.image("other")])
    for index, first in ((inner, child), (outer, inner)):
        [named, *_] = json.loads(index.text)["manifests"]
        assert (named["digest"], named["size"], named["mediaType"]) == (first.digest, len(first.text), first.media_type)


def test_signatures() -> None:
    """One has what it signs as its subject; the other one says it by its tag, and has none."""
    image = images.image("one")
    assert json.loads(images.referrer(image).text)["subject"]["digest"] == image.digest
    assert "subject" not in json.loads(images.signature(image).text)
    assert images.signature_tag(image) == f"sha256-{image.digest.removeprefix('sha256:')}.sig"
