"""What is in use because something else is, against the definition: whatever it needs, or is needed by, runs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from handler.models.images import Image, ImageFailure, ImageId, ListedImage, NamedManifests
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

    def __init__(
        self, images: Sequence[Stored], unreadable: frozenset[str] = frozenset(), hidden: frozenset[str] = frozenset()
    ) -> None:
        """ECR says of the unreadable that their manifests cannot be had, and of the hidden that they are not there."""
        self.images = {image.digest: image for image in images}
        self.by_tag = {tag: image for image in images for tag in image.tags}
        self.unreadable, self.hidden = unreadable, hidden

    def find(self, image_id: ImageId) -> Stored | None:
        return self.images.get(str(image_id.digest)) if image_id.digest else self.by_tag.get(str(image_id.tag))

    def read(self, image_ids: Sequence[ImageId]) -> Mapping[ImageId, NamedManifests | ImageFailure]:
        """Answers as ECR's manifests do."""
        found: dict[ImageId, NamedManifests | ImageFailure] = {}
        for image_id in image_ids:
            image = self.find(image_id)
            if image is None or image.digest in self.hidden:
                continue
            if image.digest in self.unreadable:
                found[image_id] = ImageFailure(image_id, "ImageInaccessible", "not now")
                continue
            indexes = tuple(c for c in image.named if c in self.images and self.images[c].named)
            found[image_id] = NamedManifests(image.digest, image.named, indexes)
        return found

    def look_up(self, image_ids: Sequence[ImageId]) -> Mapping[ImageId, Image | ImageFailure]:
        """Answers as ECR's descriptions do."""
        found = {image_id: self.find(image_id) for image_id in image_ids}
        return {i: Image(m.digest, m.tags, 0.0, bool(m.named), m.subject) for i, m in found.items() if m}

    def listed(self) -> list[ListedImage]:
        return [
            ListedImage(i.digest, tuple(sorted(i.tags)), 0.0, None, 1, bool(i.named), i.subject)
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
        before = st.sampled_from([image.digest for image in images]) if images else st.nothing()
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
    names = [*(ImageId(digest) for digest in sorted(digests)), *(ImageId(tag=tag) for tag in sorted(tags))]
    users = named_by(dict.fromkeys(names, "somebody"), registry.read) | dict.fromkeys(digests, "somebody")
    return in_use_of(image_ids, users, dict.fromkeys(tags, "somebody"), registry.read, registry.look_up)


@given(registries(), used_digests, used_tags)
def test_named_images_are_in_use_as_defined(registry: Registry, digests: set[str], tags: set[str]) -> None:
    """Alone or with others, by whatever each is named; a name that is in use is, also where nothing has it now."""
    expected = registry.in_use(digests, tags)
    together = verdicts(registry, digests, tags, asked(registry))
    for image_id in asked(registry):
        image = registry.find(image_id)
        alone = verdicts(registry, digests, tags, [image_id])
        assert (image_id in together) == (image_id in alone)
        if image or image_id.digest in digests:
            assert (image_id in alone) == (str(image_id.digest) in digests or image is None or image.digest in expected)


@given(registries(), used_digests, used_tags)
def test_listed_images_are_in_use_as_defined(registry: Registry, digests: set[str], tags: set[str]) -> None:
    """A whole repository, without a further look-up."""
    named = {image.digest: image.named for image in registry.images.values() if image.named}
    users = in_use_among(registry.listed(), named, dict.fromkeys(digests, "one"), dict.fromkeys(tags, "another"))
    assert registry.images.keys() & users.keys() == registry.images.keys() & registry.in_use(digests, tags)


some = st.frozensets(st.sampled_from(DIGESTS), max_size=2)


@given(registries(), used_digests, used_tags, some, some)
def test_what_cannot_be_read_is_not_let_go(
    registry: Registry, digests: set[str], tags: set[str], unreadable: frozenset[str], hidden: frozenset[str]
) -> None:
    """Whatever is in use without the manifests that ECR does not give, stays; and so does an index without its own.

    What such an index names is kept by ECR itself, and is no business of the guard.
    """
    dark = unreadable | hidden
    blind = Registry(list(registry.images.values()), unreadable, hidden)
    known = Registry([i._replace(named=()) if i.digest in dark else i for i in registry.images.values()])
    expected = known.in_use(digests, set())
    for image_id in asked(registry):
        verdict = verdicts(blind, digests, tags, [image_id]).get(image_id)
        image = registry.find(image_id)
        if image and (image.digest in expected or image.tags & tags or (image.named and image.digest in dark)):
            assert verdict is not None


def test_whoever_uses_an_index_uses_what_it_names() -> None:
    """The same user is named for each of its images, and for those of an index that it names."""
    image, inner = Stored(DIGESTS[0], frozenset(), (), None), Stored(DIGESTS[1], frozenset(), (DIGESTS[0],), None)
    registry = Registry([image, inner, Stored(DIGESTS[2], frozenset(), (DIGESTS[1],), None)])
    assert named_by({ImageId(DIGESTS[2]): "web"}, registry.read) == dict.fromkeys(DIGESTS[:2], "web")


def test_nothing_is_looked_at_twice() -> None:
    """Deep nesting costs a description and a manifest for each level, down to what is in use."""
    read: list[int] = []
    described: list[int] = []
    registry = Registry([Stored(DIGESTS[n], frozenset(), (DIGESTS[n - 1],) if n else (), None) for n in range(5)])

    def read_manifests(image_ids: Sequence[ImageId]) -> Mapping[ImageId, NamedManifests | ImageFailure]:
        read.append(len(image_ids))
        return registry.read(image_ids)

    def look_up(image_ids: Sequence[ImageId]) -> Mapping[ImageId, Image | ImageFailure]:
        described.append(len(image_ids))
        return registry.look_up(image_ids)

    assert in_use_of([ImageId(DIGESTS[4])], {DIGESTS[0]: "web"}, {}, read_manifests, look_up)
    assert (read, described) == ([1] * 4, [1] * 4)


def test_a_name_in_use_needs_no_look_up() -> None:
    """It stays, whatever ECR shows of it."""
    ids = [ImageId(DIGESTS[0]), ImageId(tag="prod"), ImageId(DIGESTS[0], "any")]
    assert set(in_use_of(ids, {DIGESTS[0]: "web"}, {"prod": "api"}, None, None)) == set(ids)  # type: ignore[arg-type]
