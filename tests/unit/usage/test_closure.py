"""What is in use because something else is, against the definition: whatever it needs, or is needed by, runs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from handler.models.images import Image, ImageFailure, ImageId, ListedImage, References
from handler.usage.closure import in_use_among, in_use_of, named_by

DIGESTS = [f"sha256:{n:064x}" for n in range(9)]


class Stored(NamedTuple):
    """An image of a repository."""

    digest: str
    tags: frozenset[str]
    named: tuple[str, ...]
    subject: str | None


class Registry:
    """A repository with images, indexes, signatures and whatever else; it may be one that no sane person would make."""

    def __init__(self, images: Sequence[Stored], unreadable: frozenset[str] = frozenset()) -> None:
        self.images = {image.digest: image for image in images}
        self.by_tag = {tag: image for image in images for tag in image.tags}
        self.unreadable = unreadable

    def find(self, image_id: ImageId) -> Stored | None:
        return self.images.get(str(image_id.digest)) if image_id.digest else self.by_tag.get(str(image_id.tag))

    def read(self, image_ids: Sequence[ImageId]) -> Mapping[ImageId, References | ImageFailure]:
        """Answers as ECR's manifests do."""
        found: dict[ImageId, References | ImageFailure] = {}
        for image_id in image_ids:
            image = self.find(image_id)
            if image is None:
                continue
            if image.digest in self.unreadable:
                found[image_id] = ImageFailure(image_id, "ImageInaccessible", "not now")
                continue
            children = [child for child in image.named if child in self.images]
            nested = tuple(c for c in children if self.images[c].named or self.images[c].subject)
            found[image_id] = References(image.digest, image.named, nested, image.subject, not image.subject)
        return found

    def look_up(self, image_ids: Sequence[ImageId]) -> Mapping[ImageId, Image | ImageFailure]:
        """Answers as ECR's descriptions do."""
        found = {image_id: self.find(image_id) for image_id in image_ids}
        return {i: Image(image.digest, image.tags, 0.0) for i, image in found.items() if image}

    def listed(self) -> list[ListedImage]:
        return [
            ListedImage(i.digest, tuple(sorted(i.tags)), 0.0, None, 1, bool(i.named), i.subject, active=True)
            for i in self.images.values()
        ]

    def needs(self, digest: str) -> set[str]:
        """What an image is nothing without: what it names and what it signs; of what is not there, nobody knows."""
        image = self.images.get(digest)
        if image is None:
            return set()
        signed = {tag.removesuffix(".sig").replace("-", ":", 1) for tag in image.tags if tag.startswith("sha256-")}
        return {*image.named, *signed, *([image.subject] if image.subject else [])}

    def in_use(self, digests: set[str], tags: set[str]) -> set[str]:
        """The definition, as slow as it is plain."""
        run = digests | {image.digest for image in self.images.values() if image.tags & tags}
        while more := {c for d in run if d in self.images for c in self.images[d].named} - run:
            run |= more
        while more := {digest for digest in self.images if self.needs(digest) & run} - run:
            run |= more
        return run


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """Repositories in which each manifest refers only to those that were there before it, as it must."""
    images: list[Stored] = []
    for n, digest in enumerate(DIGESTS[: draw(st.integers(1, len(DIGESTS)))]):
        # What signs by its tag alone is the end of a chain: nothing refers to such a signature in turn.
        before = st.sampled_from([i.digest for i in images if not any(tag.startswith("sha256-") for tag in i.tags)])
        kind = "image" if not n else draw(st.sampled_from(["image", "index", "signature", "signature by tag"]))
        tags = {f"v{n}"} if draw(st.booleans()) else set()
        if kind == "signature by tag":
            tags.add(draw(before).replace(":", "-") + draw(st.sampled_from(["", ".sig"])))
        images.append(
            Stored(
                digest,
                frozenset(tags),
                tuple(draw(st.lists(before, min_size=1, max_size=3, unique=True))) if kind == "index" else (),
                draw(before) if kind == "signature" else None,
            )
        )
    gone = draw(st.sets(st.sampled_from(DIGESTS), max_size=2))  # deleted by others meanwhile
    return Registry([image for image in images if image.digest not in gone])


used_digests = st.sets(st.sampled_from(DIGESTS), max_size=2)
used_tags = st.sets(st.sampled_from([f"v{n}" for n in range(len(DIGESTS))]), max_size=2)


def asked(registry: Registry) -> list[ImageId]:
    """Every image, by its digest and by each tag."""
    tags = [ImageId(tag=tag) for tag in registry.by_tag]
    return [*(ImageId(digest) for digest in DIGESTS), *tags]


def verdicts(registry: Registry, digests: set[str], tags: set[str], image_ids: Sequence[ImageId]) -> dict[ImageId, Any]:
    """What the guard of named images says."""
    users = named_by(dict.fromkeys(digests, "somebody"), registry.read)
    return in_use_of(image_ids, users, dict.fromkeys(tags, "somebody"), registry.read, registry.look_up)


@given(registries(), used_digests, used_tags)
def test_named_images_are_in_use_as_defined(registry: Registry, digests: set[str], tags: set[str]) -> None:
    """Each of those that are there, alone or with others, by whatever it is named."""
    expected = registry.in_use(digests, tags)
    together = verdicts(registry, digests, tags, asked(registry))
    for image_id in asked(registry):
        image = registry.find(image_id)
        alone = verdicts(registry, digests, tags, [image_id])
        assert (image_id in together) == (image_id in alone) == (image is not None and image.digest in expected)


@given(registries(), used_digests, used_tags)
def test_listed_images_are_in_use_as_defined(registry: Registry, digests: set[str], tags: set[str]) -> None:
    """A whole repository, without a further look-up."""
    named = {image.digest: image.named for image in registry.images.values() if image.named}
    users = in_use_among(registry.listed(), named, dict.fromkeys(digests, "one"), dict.fromkeys(tags, "another"))
    assert registry.images.keys() & users.keys() == registry.images.keys() & registry.in_use(digests, tags)


@given(registries(), used_digests, used_tags, st.sets(st.sampled_from(DIGESTS), min_size=1, max_size=2))
def test_what_cannot_be_read_is_a_failure(
    registry: Registry, digests: set[str], tags: set[str], unreadable: set[str]
) -> None:
    """So is the signature of it; and whatever can be known without it is known.

    ECR itself keeps what an index names that cannot be read.
    """
    blind = Registry(list(registry.images.values()), frozenset(unreadable))
    known = Registry(
        [i._replace(named=(), subject=None) if i.digest in unreadable else i for i in blind.images.values()]
    )
    expected = known.in_use(
        digests, tags - {tag for i in blind.images.values() if i.digest in unreadable for tag in i.tags}
    )
    for image_id in asked(registry):
        verdict = verdicts(blind, digests, tags, [image_id]).get(image_id)
        image = registry.find(image_id)
        if image is None:
            assert verdict is None
        elif image.digest in unreadable:
            assert isinstance(verdict, ImageFailure)
        elif image.digest in expected or image.subject in unreadable & blind.images.keys():
            assert verdict is not None


def test_whoever_uses_an_index_uses_what_it_names() -> None:
    """The same user is named for each of its images, and for those of an index that it names."""
    image, inner = Stored(DIGESTS[0], frozenset(), (), None), Stored(DIGESTS[1], frozenset(), (DIGESTS[0],), None)
    registry = Registry([image, inner, Stored(DIGESTS[2], frozenset(), (DIGESTS[1],), None)])
    assert named_by({DIGESTS[2]: "web"}, registry.read) == dict.fromkeys(DIGESTS[:3], "web")


def test_nothing_is_read_twice() -> None:
    """Deep nesting costs one call for each level, and what signs by tag one look-up."""
    calls: list[int] = []
    images = [Stored(DIGESTS[n], frozenset(), (DIGESTS[n - 1],) if n else (), None) for n in range(5)]
    registry = Registry(images)

    def read(image_ids: Sequence[ImageId]) -> Mapping[ImageId, References | ImageFailure]:
        calls.append(len(image_ids))
        return registry.read(image_ids)

    assert in_use_of([ImageId(DIGESTS[4])], {DIGESTS[0]: "web"}, {}, read, registry.look_up)
    assert calls == [1] * 4
