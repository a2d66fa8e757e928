"""Which images of a repository a selection means, in the sense of ECR's lifecycle policies."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from handler.models import ListedImage, Selection

_DAY = 24 * 60 * 60

type Parents = Mapping[str, Sequence[str]]
"""For a digest, those of the indexes that name it and of its subject, as far as they are in the repository."""


class Choice(NamedTuple):
    """What is to be deleted of a repository, and why all else is kept."""

    levels: list[list[ListedImage]]
    """Whole images in the order they may go: an index before what it names, a subject before what refers to it."""
    kept: dict[str, str]
    """For each digest that stays, why."""
    parents: Parents

    @property
    def selected(self) -> int:
        return sum(map(len, self.levels))

    @property
    def reasons(self) -> dict[str, int]:
        """How many are kept, by reason."""
        return dict(Counter(self.kept.values()))


def choose(
    selection: Selection,
    images: Sequence[ListedImage],
    named: Mapping[str, Sequence[str] | None],
    protected: Callable[[Sequence[str]], bool],
    now: float,
    relatives: Collection[str] = (),
) -> Choice:
    """What a selection means of these images, `named` being what each index names; None for one that cannot be read.

    Images are wholes: what a kept index names stays, however old it is, and what a selected one alone names goes with
    it, as do the signatures of what goes. Where an index cannot be read, no image without tags can be known to be
    unused. `relatives` go with what an earlier try has deleted.
    """
    unread = {index for index, digests in named.items() if digests is None}
    parents = _parents(images, named)
    follow = {
        image.digest for image in images if not image.tags and (image.digest in parents or image.digest in relatives)
    }
    alone = [image for image in images if image.digest not in follow]
    kept = {image.digest: reason for image, reason in _verdicts(selection, alone, protected, now) if reason}
    levels: list[list[ListedImage]] = []
    level_of: dict[str, int] = {}
    for image in _parents_first(images, parents):
        above = parents.get(image.digest, ())
        if image.digest in unread or (unread and not image.tags):
            kept[image.digest] = "UnreadableIndex"
        elif not all(parent in level_of for parent in above):
            kept[image.digest] = "StillUsed"
        elif image.digest not in kept:
            level_of[image.digest] = level = max((level_of[parent] + 1 for parent in above), default=0)
            levels.extend([] for _ in range(level + 1 - len(levels)))
            levels[level].append(image)
    for image in images:  # in a circle, if there could be one
        if image.digest not in level_of:
            kept.setdefault(image.digest, "StillUsed")
    return Choice(levels, kept, parents)


def _parents(images: Sequence[ListedImage], named: Mapping[str, Sequence[str] | None]) -> Parents:
    there = {image.digest for image in images}
    parents: defaultdict[str, list[str]] = defaultdict(list)
    for index, digests in named.items():
        for digest in digests or ():
            parents[digest].append(index)
    for image in images:
        if image.subject in there:
            parents[image.digest].append(image.subject)
    return parents


def _parents_first(images: Sequence[ListedImage], parents: Parents) -> Iterator[ListedImage]:
    by_digest = {image.digest: image for image in images}
    below: defaultdict[str, list[str]] = defaultdict(list)
    waiting = {}
    for digest in by_digest:
        waiting[digest] = len(parents.get(digest, ()))
        for parent in parents.get(digest, ()):
            below[parent].append(digest)
    ready = deque(digest for digest, count in waiting.items() if not count)
    while ready:
        digest = ready.popleft()
        yield by_digest[digest]
        for child in below[digest]:
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)


def _verdicts(
    selection: Selection,
    images: Sequence[ListedImage],
    protected: Callable[[Sequence[str]], bool],
    now: float,
) -> Iterator[tuple[ListedImage, str | None]]:
    """Why each image by itself is kept, or None."""
    matching: list[ListedImage] = []
    for image in images:
        if not image.active:
            yield image, "Archived"
        elif _matched_by_one(image, selection.exclude_tag_patterns):
            yield image, "Excluded"
        elif not _meant(image, selection):
            yield image, "NotMatched"
        else:
            matching.append(image)
    matching.sort(key=lambda image: (-image.pushed, image.digest))
    for rank, image in enumerate(matching):
        yield image, "ProtectedTag" if protected(image.tags) else _too_recent(selection, image, rank, now)


def _meant(image: ListedImage, selection: Selection) -> bool:
    if selection.tag_status == "any":
        return True
    if selection.tag_status == "untagged":
        return not image.tags
    return bool(image.tags) and all(_matched_by_one(image, [pattern]) for pattern in selection.tag_patterns)


def _matched_by_one(image: ListedImage, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(tag, pattern) for tag in image.tags for pattern in patterns)


def _too_recent(selection: Selection, image: ListedImage, rank: int, now: float) -> str | None:
    if rank < selection.keep_most_recent:
        return "MostRecent"
    match selection.count_type:
        case "imageCountMoreThan":
            return "MostRecent" if rank < selection.count_number else None
        case "sinceImagePushed":
            last = image.pushed
        case "sinceImagePulled":
            last = image.pushed if image.pulled is None else max(image.pulled, image.pushed)
        case _:
            return None
    return "TooRecent" if now - last <= selection.count_number * _DAY else None
