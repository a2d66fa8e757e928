"""Which images of a repository a selection means, in the sense of ECR's lifecycle policies."""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from handler.models.images import ImageId, ListedImage, own_tags, signature_subject
from handler.models.outcomes import Admission
from handler.models.request import Selection

_DAY = 24 * 60 * 60

type Parents = Mapping[str, Sequence[str]]
"""For a digest, those of the indexes that name it and of its subjects, as far as they are in the repository."""


class Protection(NamedTuple):
    """What stays of a repository, whatever a selection means; it counts like any other image."""

    protects: Callable[[Sequence[str]], bool]
    """Whether an image with these tags stays."""
    in_use: Collection[str] = ()
    """The digests of images in use."""
    in_grace: Collection[str] = ()
    """The digests of images in the archive that were to be deleted, and can still be restored instead."""
    only: Collection[str] | None = None
    """Everything but these digests stays; None if nothing stays for that reason."""
    restored_since: float = math.inf
    """What was restored from the archive after this time, in seconds since the epoch, stays."""
    belonging: Collection[str] = ()
    """The digests of what belongs to images that are not in the list: none of them is an image of its own."""


class Plan(NamedTuple):
    """The images of a repository that are to be deleted, archived or restored, and why all others are kept."""

    levels: list[list[ListedImage]]
    """Whole images in the order they may go: an index before what it names, a subject before what refers to it."""
    kept: dict[str, str]
    """For each digest that stays, why."""
    parents: Parents
    followers: frozenset[str]
    """The digests of what goes along with something, having no tag of its own."""
    of_tags: bool = False
    """Tags are removed, and no image: each of the levels has an image for each tag, with that tag alone."""

    @property
    def selected(self) -> int:
        return sum(map(len, self.levels))

    def image_id(self, image: ListedImage) -> ImageId:
        """Returns what one of the levels asks ECR for."""
        return ImageId(image.digest, image.tags[0] if self.of_tags else None)

    @property
    def reasons(self) -> dict[str, int]:
        """How many are kept, by reason."""
        return dict(Counter(self.kept.values()))

    def over_limits(self, limits: Admission, verb: str = "delete", taken: int = 0) -> str | None:
        """Returns why the limits do not admit it, beside what the request has taken before; None if they do."""
        count, things = self.selected + taken, "tags" if self.of_tags else "images"
        before = f", {taken:,} of them in earlier messages" if taken else ""
        if count > limits.max_images:
            return (
                f"request.selection means {count:,} {things}{before}, and a request may "
                f"{verb} {limits.max_images:,}; narrow it, or set the stack's MaxImagesPerRequest"
            )
        if self.of_tags:  # from how many images earlier messages have taken theirs, is not known
            count, before = len({image.digest for level in self.levels for image in level}), ""
        if count * 100 > limits.max_percent * limits.repository_images:
            return (
                f"request.selection means {count:,} of the repository's {limits.repository_images:,} images{before}, "
                f"more than the {limits.max_percent} % that it may {verb}; narrow it, or set the stack's "
                "MaxPercentOfRepository"
            )
        return None


def make_plan(
    selection: Selection,
    images: Sequence[ListedImage],
    named: Mapping[str, Sequence[str] | None],
    protection: Protection,
    now: float,
    remembered: Collection[str] = (),
) -> Plan:
    """Plans what a selection means of these images, `named` being what each index names; None for one not readable.

    A multi-architecture image counts as one image: what a kept index names stays, however old it is, and what a
    selected one alone names goes with it, as do the signatures of what goes. Where an index cannot be read, no image
    without tags can be known to be unused. The `remembered` go along with what an earlier try has deleted.
    """
    # One in the archive needs nothing, unless it is in use; and ECR deletes nothing that an index names.
    hidden = {image.digest for image in images if named.get(image.digest, ()) is None}
    archived = {image.digest for image in images if image.status == "ARCHIVED"}.difference(protection.in_use)
    unread, blind = hidden - archived, hidden & archived if selection.of_archive else set[str]()
    parents, untagged = parents_of(images, named)
    remembered = {
        image.digest
        for image in images
        if image.digest in remembered and all(signature_subject(tag) for tag in image.tags)
    }
    followers = remembered.union(protection.belonging, (digest for digest in untagged if digest in parents))
    orphans = followers - remembered - parents.keys()
    alone = _as_pulled(selection, images, parents, [image for image in images if image.digest not in followers])
    kept = {image.digest: reason for image, reason in verdicts(selection, alone, protection, now) if reason}
    levels: defaultdict[int, list[ListedImage]] = defaultdict(list)
    level_of: dict[str, int] = {}
    for image in parents_first(images, parents):
        needed_by = parents.get(image.digest, ())
        if image.digest in unread or (unread and image.digest in untagged):
            kept[image.digest] = "UnreadableIndex"
        elif reason := _not_meant(selection, image, protection):
            kept.setdefault(image.digest, reason)
        elif image.digest in followers and protection.protects(image.tags):
            kept[image.digest] = "ProtectedTag"
        elif image.digest in orphans or not all(map(level_of.__contains__, needed_by)):
            kept[image.digest] = "StillUsed"
        elif image.digest in protection.in_use:
            kept.setdefault(image.digest, "InUse")
        elif image.digest not in kept:
            # What an index may name comes after it, or ECR would refuse it.
            first = int(bool(blind) and image.digest in untagged and image.digest not in blind)
            level_of[image.digest] = level = 1 + max(map(level_of.__getitem__, needed_by)) if needed_by else first
            levels[level].append(image)
    for image in images:  # in a circle, if there could be one
        if image.digest not in level_of:
            kept.setdefault(image.digest, "StillUsed")
    return Plan([levels[level] for level in sorted(levels)], kept, parents, frozenset(followers))


def parents_of(images: Sequence[ListedImage], named: Mapping[str, Sequence[str] | None]) -> tuple[Parents, set[str]]:
    """Returns the indexes and subjects of each image, and the digests of those that have no tag of their own."""
    existing = {image.digest for image in images}
    untagged = {image.digest for image in images if not wanted_tags(image.tags, existing)}
    parents: defaultdict[str, list[str]] = defaultdict(list)
    for index, digests in named.items():
        for digest in dict.fromkeys(digests or ()):
            parents[digest].append(index)
    for image in images:
        subjects = [image.subject]
        if image.digest in untagged:  # with a further tag it is an image of its own
            subjects += map(signature_subject, image.tags)
        for subject in subjects:
            if subject in existing and subject not in (image.digest, *parents.get(image.digest, ())):
                parents[image.digest].append(subject)
    return parents, untagged


def wanted_tags(tags: Sequence[str], existing: Collection[str]) -> set[str]:
    """Returns the tags that an image has for its own sake.

    While one of its tags says that it is the signature of an image that exists, a tag that says so of another image,
    which is gone or in the archive, is none of them: several images can have the same SBOM.
    """
    own = own_tags(tags, existing)
    return own if len(own) == len(tags) else {tag for tag in own if signature_subject(tag) is None}


def _as_pulled(
    selection: Selection, images: Sequence[ListedImage], parents: Parents, alone: Sequence[ListedImage]
) -> Sequence[ListedImage]:
    """Returns the images as last pulled when they were, or what belongs to them: a platform may be, by its digest."""
    if selection.count_type != "sinceImagePulled":
        return alone
    pulled = {image.digest: image.pulled or 0.0 for image in images}
    for image in reversed([*parents_first(images, parents)]):
        for owner in parents.get(image.digest, ()):
            pulled[owner] = max(pulled[owner], pulled[image.digest])
    return [image._replace(pulled=pulled[image.digest] or None) for image in alone]


def parents_first(images: Sequence[ListedImage], parents: Parents) -> Iterator[ListedImage]:
    """Yields the images, each behind all that it belongs to."""
    by_digest = {image.digest: image for image in images}
    below: defaultdict[str, list[str]] = defaultdict(list)
    waiting: dict[str, int] = {}
    for digest in by_digest:
        if owners := parents.get(digest):
            waiting[digest] = len(owners)
            for owner in owners:
                below[owner].append(digest)
    ready = deque(image for image in images if image.digest not in waiting)
    while ready:
        image = ready.popleft()
        yield image
        for child in below.get(image.digest, ()):
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(by_digest[child])


def verdicts(
    selection: Selection,
    images: Sequence[ListedImage],
    protection: Protection,
    now: float,
) -> Iterator[tuple[ListedImage, str | None]]:
    """Yields why each image by itself is kept, or None."""
    matching: list[ListedImage] = []
    for image in images:
        if reason := _not_meant(selection, image, protection):
            yield image, reason
        elif matched_by_one(image, selection.exclude_tag_patterns):
            yield image, "Excluded"
        elif not _matches(image, selection):
            yield image, "NotMatched"
        else:
            matching.append(image)
    by_pull = selection.count_type == "sinceImagePulled"
    matching.sort(key=lambda image: (-_age_from(image, by_pull=by_pull), image.digest))
    for rank, image in enumerate(matching):
        if protection.protects(image.tags):
            yield image, "ProtectedTag"
        elif (image.activated or 0.0) > protection.restored_since:
            yield image, "Restored"
        else:
            yield image, _too_recent(selection, image, rank, now)


def _not_meant(selection: Selection, image: ListedImage, protection: Protection) -> str | None:
    """Returns why a selection cannot mean an image, whatever its tags and its age."""
    if not selection.of_archive:
        return None if image.status == "ACTIVE" else "Archived"
    if image.status != "ARCHIVED" or (protection.only is not None and image.digest not in protection.only):
        return "NotMatched"
    return "InGracePeriod" if image.digest in protection.in_grace else None


def _matches(image: ListedImage, selection: Selection) -> bool:
    if selection.tag_status == "any":
        return True
    if selection.tag_status == "untagged":
        return not image.tags
    return bool(image.tags) and all(matched_by_one(image, [pattern]) for pattern in selection.tag_patterns)


def matched_by_one(image: ListedImage, patterns: Sequence[str]) -> bool:
    """Returns whether one of an image's tags matches one of the patterns."""
    return any(fnmatchcase(tag, pattern) for tag in image.tags for pattern in patterns)


def _age_from(image: ListedImage, *, by_pull: bool) -> float:
    """Returns what an image's age counts from: its push; by pull, also when it was restored from the archive."""
    return max(image.pushed, image.activated or 0.0) if by_pull else image.pushed


def _too_recent(selection: Selection, image: ListedImage, rank: int, now: float) -> str | None:
    if rank < selection.keep_most_recent:
        return "MostRecent"
    if selection.count_type in {None, "gracePeriodEnded"}:
        return None
    if selection.count_type == "imageCountMoreThan":
        return "MostRecent" if rank < selection.count_number else None
    if selection.count_type == "sinceImageTransitioned":
        return "TooRecent" if now - (image.archived or now) <= selection.count_number * _DAY else None
    by_pull = selection.count_type == "sinceImagePulled"
    last = max(_age_from(image, by_pull=by_pull), image.pulled or 0.0 if by_pull else 0.0)
    return "TooRecent" if now - last <= selection.count_number * _DAY else None
