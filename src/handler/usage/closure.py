"""Which images are in use because others are: what a used index names, what names a used image, and its signatures."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from handler.models.images import (
    Image,
    ImageFailure,
    ImageId,
    ListedImage,
    LookUp,
    NamedManifests,
    ReadManifests,
    signature_subject,
)

_UNREADABLE = "what it names cannot be known, and may be in use: ECR does not give its manifest"

type Users = dict[str, str]
"""By digest, who uses an image."""


def in_use_among(
    images: Sequence[ListedImage],
    named: Mapping[str, Sequence[str] | None],
    digests: Mapping[str, str],
    tags: Mapping[str, str],
) -> Users:
    """Returns which images of a whole repository are in use, and by whom.

    `named` is what each index names; `digests` and `tags` are in use by themselves.
    """
    users = {image.digest: tags[tag] for image in images for tag in image.tags if tag in tags}
    users |= digests
    children = {index: children or () for index, children in named.items()}
    subjects = {image.digest: [image.subject, *map(signature_subject, image.tags)] for image in images}
    _follow(users, children)
    _follow(users, _reversed([*_pairs(children), *_pairs(subjects)]))
    return users


def in_use_of(
    image_ids: Sequence[ImageId],
    digests: Mapping[str, str],
    tags: Mapping[str, str],
    read: ReadManifests,
    look_up: LookUp,
) -> dict[ImageId, str | ImageFailure]:
    """Returns which of these images are in use, and by whom; a failure for one of which that cannot be known.

    `digests` are in use, those that a used index names among them; `tags` are in use by themselves. Whatever has such a
    name needs no look-up: it stays, also where ECR does not show it.
    """
    verdicts: dict[ImageId, str | ImageFailure] = {
        i: user for i in image_ids if (user := digests.get(i.digest or "") or tags.get(i.tag or ""))
    }
    others = [image_id for image_id in image_ids if image_id not in verdicts]
    found = look_up(others) if others else {}
    asked = {image.digest: image for image in found.values() if isinstance(image, Image)}
    edges, tagged, unknown = _explored(asked, digests.keys(), read, look_up)
    reached = itertools.chain(edges, *edges.values())
    users = {digest: digests[digest] for digest in reached if digest in digests}
    users |= {digest: tags[tag] for digest, own in tagged.items() for tag in own if tag in tags}
    needed_by = _reversed(_pairs(edges))
    _follow(users, needed_by)
    _follow(unknown, needed_by)
    for image_id, image in found.items():
        if isinstance(image, ImageFailure):
            verdicts[image_id] = image
        elif user := users.get(image.digest):
            verdicts[image_id] = user
        elif failure := unknown.get(image.digest):
            verdicts[image_id] = failure._replace(image_id=image_id)
    return verdicts


def named_by(names: Mapping[ImageId, str], read: ReadManifests) -> Users:
    """Returns who uses what these images name: whoever pulls an index, pulls one of its images.

    What cannot be read is left out: ECR itself does not let an index lose what it names.
    """
    users: Users = {}
    pending = dict(names)
    while pending:
        found = read(list(pending))
        further: dict[ImageId, str] = {}
        for name, manifest in found.items():
            if isinstance(manifest, NamedManifests):
                new = [digest for digest in manifest.indexes if digest not in users]
                further |= dict.fromkeys(map(ImageId, new), pending[name])
                users |= {digest: pending[name] for digest in manifest.named if digest not in users}
        pending = further
    return users


def _explored(
    images: Mapping[str, Image], used: Collection[str], read: ReadManifests, look_up: LookUp
) -> tuple[dict[str, list[str]], dict[str, frozenset[str]], dict[str, ImageFailure]]:
    """Follows what images refer to, until it is in use or refers to nothing more.

    Returns for each digest what it refers to; its tags; and for those of which neither can be known, why.
    """
    seen = set(images)
    edges: dict[str, list[str]] = {}
    tagged: dict[str, frozenset[str]] = {}
    unknown: dict[str, ImageFailure] = {}
    while images:
        indexes = [ImageId(digest) for digest, image in images.items() if image.is_index]
        manifests = read(indexes) if indexes else {}
        for digest, image in images.items():
            tagged[digest] = image.tags
            edges[digest] = [*filter(None, [image.subject, *map(signature_subject, image.tags)])]
            manifest = manifests.get(ImageId(digest))
            if isinstance(manifest, NamedManifests):
                edges[digest] += manifest.named
            elif image.is_index:
                unknown[digest] = manifest or ImageFailure(ImageId(digest), "UnreadableIndex", _UNREADABLE)
        new = {other for digest in images for other in edges[digest] if other not in used} - seen
        seen |= new
        found = look_up([ImageId(digest) for digest in sorted(new)]) if new else {}
        unknown |= {str(i.digest): failure for i, failure in found.items() if isinstance(failure, ImageFailure)}
        images = {image.digest: image for image in found.values() if isinstance(image, Image)}
    return edges, tagged, unknown


def _pairs(mapping: Mapping[str, Iterable[str | None]]) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, values in mapping.items() for value in values if value is not None)


def _reversed(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found = defaultdict[str, list[str]](list)
    for key, value in pairs:
        found[value].append(key)
    return found


def _follow[T](values: dict[str, T], edges: Mapping[str, Iterable[str]]) -> None:
    """Gives the value of each node to all that can be reached from it, unless they have one of their own."""
    pending = [node for node in edges if node in values]  # few in a chunk, while thousands may be in use
    while pending:
        node = pending.pop()
        for reached in edges.get(node, ()):
            if reached not in values:
                values[reached] = values[node]
                pending.append(reached)
