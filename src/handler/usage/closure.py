"""Which images are in use because others are: what a used index names, what names a used image, and its signatures."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from handler.models.images import (
    Image,
    ImageFailure,
    ImageId,
    ListedImage,
    LookUp,
    ReadReferences,
    References,
    signature_subject,
)

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
    read: ReadReferences,
    look_up: LookUp,
) -> dict[ImageId, str | ImageFailure]:
    """Returns which of these images are in use, and by whom; a failure for one of which that cannot be known.

    `digests` are in use, those that a used index names among them; `tags` are in use by themselves.
    """
    found = read([*image_ids, *(ImageId(tag=tag) for tag in tags)])
    users, doubts = dict(digests), {i: f for i in image_ids if isinstance(f := found.get(i), ImageFailure)}
    for tag, user in tags.items():
        if isinstance(references := found.get(ImageId(tag=tag)), References):
            users.setdefault(references.digest, user)
    known = {references.digest: references for references in found.values() if isinstance(references, References)}
    subjects = _signed_by_tag(image_ids, found, look_up)
    unknown = _read_further(known, subjects, read)
    children = {digest: references.named for digest, references in known.items()}
    pairs = [*_pairs(children), *_pairs(subjects), *((d, r.subject) for d, r in known.items() if r.subject)]
    _follow(users, children)
    _follow(users, _reversed(pairs))
    _follow(unknown, _reversed(pairs))
    verdicts: dict[ImageId, str | ImageFailure] = dict(doubts)
    for image_id in image_ids:
        if isinstance(references := found.get(image_id), References):
            if by := users.get(references.digest):
                verdicts[image_id] = by
            elif failure := unknown.get(references.digest):
                verdicts[image_id] = failure._replace(image_id=image_id)
    return verdicts


def read_ahead(image_ids: Iterable[ImageId], read: ReadReferences) -> ReadReferences:
    """Reads what these images refer to, and returns a reader that need not ask for them again."""
    asked = set(image_ids)
    found = read(list(asked))

    def read_others(image_ids: Sequence[ImageId]) -> Mapping[ImageId, References | ImageFailure]:
        others = [image_id for image_id in image_ids if image_id not in asked]
        known = {image_id: found[image_id] for image_id in image_ids if image_id in found}
        return {**known, **read(others)} if others else known

    return read_others


def named_by(digests: Mapping[str, str], read: ReadReferences) -> Users:
    """Returns who uses these digests, and those that they name: whoever pulls an index, pulls one of its images."""
    users, pending = dict(digests), list(digests)
    while pending:
        found = [r for r in read([ImageId(digest) for digest in pending]).values() if isinstance(r, References)]
        pending = [digest for references in found for digest in references.nested if digest not in users]
        for references in found:
            for digest in references.named:
                users.setdefault(digest, users[references.digest])
    return users


def _signed_by_tag(
    image_ids: Sequence[ImageId], found: Mapping[ImageId, References | ImageFailure], look_up: LookUp
) -> dict[str, list[str]]:
    """Returns for the digest of each signature that has no subject, the digests of what it signs by a tag."""
    signatures = [i for i in image_ids if isinstance(r := found.get(i), References) and r.signs_by_tag]
    images = [image for image in look_up(signatures).values() if isinstance(image, Image)] if signatures else []
    return {image.digest: list(filter(None, map(signature_subject, image.tags))) for image in images}


def _read_further(
    known: dict[str, References], subjects: Mapping[str, Sequence[str]], read: ReadReferences
) -> dict[str, ImageFailure]:
    """Reads what the known images refer to and what may refer to others in turn; returns what cannot be read."""
    unread = set(itertools.chain.from_iterable(subjects.values()))
    unread.update(*(_further(references) for references in known.values()))
    unknown: dict[str, ImageFailure] = {}
    while unread := unread - known.keys():
        further = read([ImageId(digest) for digest in sorted(unread)])
        known |= {digest: References(digest) for digest in unread}
        unread = set()
        for image_id, references in further.items():
            if isinstance(references, References):
                known[references.digest] = references
                unread.update(_further(references))
            else:
                unknown[str(image_id.digest)] = references
    return unknown


def _further(references: References) -> list[str]:
    """Returns the digests behind which there may be more that it refers to."""
    return [*references.nested, *([references.subject] if references.subject else [])]


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
