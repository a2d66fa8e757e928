"""The guards: which images must not be deleted, whoever asks. A verdict is a failure like ECR's own."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from .models.images import (
    Image,
    ImageFailure,
    ImageId,
    ListedImage,
    LookUp,
    ReadManifests,
    moved,
    own_tags,
    signature_subject,
    unseen,
)
from .models.request import DeletionRequest

if TYPE_CHECKING:
    from .usage.guard import RepositoryUse


_UNTIL = (
    "it may be deleted as many days after its last use as the stack's InUseDays says; a task definition uses it until "
    "it is deregistered"
)


class Rules(NamedTuple):
    """The stack's guards, as its parameters set them; names are glob patterns."""

    protected_tags: tuple[str, ...] = ()
    protected_repositories: tuple[str, ...] = ()
    repository_patterns: tuple[str, ...] = ("*",)
    """The repositories that a pattern in a request's repositoryNames can match."""
    dry_run: bool = False
    """Nothing is deleted in this stack."""


def on_repository(rules: Rules, request: DeletionRequest, image_ids: Sequence[ImageId]) -> dict[ImageId, ImageFailure]:
    """Returns all of the ids if the request's repository is protected; ECR is asked nothing about it then."""
    if not (pattern := _matching([request.repository_name], rules.protected_repositories)):
        return {}
    reason = f"the stack protects repositories named {pattern!r}; ProtectedRepositories lists them"
    return {image_id: ImageFailure(image_id, "ProtectedRepository", reason) for image_id in image_ids}


def on_dry_run(rules: Rules, request: DeletionRequest, image_ids: Sequence[ImageId]) -> dict[ImageId, ImageFailure]:
    """Returns all of the ids if the stack has become a dry run since the request was admitted as a real one."""
    if request.dry_run or not rules.dry_run:
        return {}
    reason = "the stack's DryRun was switched on while the request was being carried out; this image was left alone"
    return {image_id: ImageFailure(image_id, "StoppedByDryRun", reason) for image_id in image_ids}


def on_unknown_use(use: "RepositoryUse | None", image_ids: Sequence[ImageId]) -> dict[ImageId, ImageFailure]:
    """Returns all of the ids if the stack protects what is in use, and cannot know what that is.

    `use` is None where the stack has no such guard.
    """
    if use is None or use.unknown is None:
        return {}
    reason = (
        f"it is not known what is in use, so that nothing is deleted: {use.unknown}; see that each source in "
        "ProtectInUse and UsageSources is read or declares again, then send it again"
    )
    return {image_id: ImageFailure(image_id, "UsageUnknown", reason) for image_id in image_ids}


def on_use(
    use: "RepositoryUse | None",
    request: DeletionRequest,
    image_ids: Sequence[ImageId],
    read: ReadManifests,
    look_up: LookUp,
) -> dict[ImageId, ImageFailure]:
    """Returns the ids of images that are in use, and of those of which that cannot be known.

    To remove one of several tags takes nothing from who uses the image by its digest, or by another tag; but a
    signature by tag is found by that tag alone.
    """
    if use is None or use.nothing or not image_ids:
        return {}
    if request.untag:
        signed = {i: ImageId(subject) for i in image_ids if (subject := signature_subject(i.tag or ""))}
        found = use.of([*dict.fromkeys(signed.values())], read, look_up) if signed else {}
        tagged = {i: use.tags[i.tag] for i in image_ids if i.tag in use.tags}
        verdicts = {i: found[subject] for i, subject in signed.items() if subject in found} | tagged
    else:
        verdicts = dict(use.of(image_ids, read, look_up))
    return {i: v._replace(image_id=i) if isinstance(v, ImageFailure) else in_use(i, v) for i, v in verdicts.items()}


def in_use(image_id: ImageId, user: str) -> ImageFailure:
    """Returns the failure of an image that is in use."""
    return ImageFailure(image_id, "ImageInUse", f"it is in use: {user}; {_UNTIL}")


def on_named(
    rules: Rules, request: DeletionRequest, image_ids: Sequence[ImageId], look_up: LookUp
) -> dict[ImageId, ImageFailure]:
    """Returns the ids that a request names and that must not be deleted.

    Looks up only what a rule in use must know; what it does not find, or cannot see, is not deleted either.
    """
    refused: dict[ImageId, ImageFailure] = {}
    for image_id in image_ids:
        if image_id.tag is None:
            if request.untag:
                reason = "untag removes tags; name the image by one, or send the request without untag"
                refused[image_id] = ImageFailure(image_id, "TagRequired", reason)
        elif rules.protected_tags and (failure := _protected(image_id, [image_id.tag], rules)):
            refused[image_id] = failure
    unsure = [
        image_id
        for image_id in image_ids
        if image_id not in refused
        and (request.untag or (image_id.digest is not None and (image_id.tag is not None or rules.protected_tags)))
    ]
    found = look_up(unsure) if unsure else {}
    tags_left: dict[str, set[str]] = {}
    for image_id in unsure:
        image = found.get(image_id)
        failure = unseen(image_id, image) or moved(image_id, image)
        if failure is None and isinstance(image, Image):
            left = tags_left.setdefault(image.digest, set(image.tags))
            failure = _last(image_id, left) if request.untag else _protected(image_id, sorted(image.tags), rules)
        if failure:
            refused[image_id] = failure
    return refused


def on_relatives(
    rules: Rules,
    request: DeletionRequest,
    parents: Mapping[str, Sequence[str]],
    gone: AbstractSet[ImageId],
    image_ids: Sequence[ImageId],
    look_up: LookUp,
) -> dict[ImageId, ImageFailure]:
    """Returns the relatives of a request's images that stay: those with a tag of their own, and those still needed.

    `parents` are the indexes that name each, and its subject. In a dry run, `gone` are the images that would have been
    deleted, or archived, by then.
    """
    parent_ids = {i: [ImageId(digest) for digest in parents[str(i.digest)]] for i in image_ids}
    found = look_up([*image_ids, *{*itertools.chain.from_iterable(parent_ids.values())}]) if image_ids else {}
    left = Left(found, gone if request.dry_run else frozenset(), by_archiving=request.action == "archive")
    kept: dict[ImageId, ImageFailure] = {}
    for image_id in image_ids:
        image = found.get(image_id) if left.is_there(image_id) else None
        failure = unseen(image_id, image)
        if isinstance(image, Image):
            if tags := own_tags(left.tags(image), parents[image.digest]):
                failure = ImageFailure(image_id, "StillTagged", f"it has a tag of its own: {min(tags)}")
            elif users := [str(parent.digest) for parent in parent_ids[image_id] if left.is_there(parent)]:
                failure = ImageFailure(image_id, "StillUsed", f"{users[0]} still needs it")
            elif request.cascade or request.action == "archive":
                failure = _protected(image_id, sorted(image.tags), rules)
            else:
                failure = ImageFailure(image_id, "LeftUntagged", "what it belonged to is gone")
        if failure:
            kept[image_id] = failure
    return kept


class Left(NamedTuple):
    """What is left where it can be pulled, of images as a look-up found them."""

    found: Mapping[ImageId, Image | ImageFailure]
    gone: AbstractSet[ImageId]
    """What a dry run has foreseen to be gone."""
    by_archiving: bool
    """An image in the archive is not left: it needs nothing, and keeps its tags."""

    def tags(self, image: Image) -> set[str]:
        return {tag for tag in image.tags if self.by_archiving or ImageId(image.digest, tag) not in self.gone}

    def is_there(self, image_id: ImageId) -> bool:
        image = self.found.get(image_id)
        if not isinstance(image, Image):
            return image is not None
        if self.by_archiving:
            return image.status != "ARCHIVED" and image.digest not in {gone.digest for gone in self.gone}
        return bool(self.tags(image)) if image.tags else ImageId(image.digest) not in self.gone


def on_selected(
    selected: Mapping[ImageId, ListedImage], image_ids: Sequence[ImageId], look_up: LookUp
) -> dict[ImageId, ImageFailure]:
    """Returns the images of a selection that are not what was meant any more: changed since it was made, or gone."""
    found = look_up(image_ids)
    refused: dict[ImageId, ImageFailure] = {}
    for image_id in image_ids:
        image = found.get(image_id)
        failure = unseen(image_id, image)
        if isinstance(image, Image) and (gained := image.tags.difference(selected[image_id].tags)):
            failure = ImageFailure(image_id, "TaggedSince", f"it has been tagged {min(gained)} since it was selected")
        elif isinstance(image, Image) and (image.status, image.archived) != _storage(selected[image_id]):
            reason = f"it has been archived or restored since it was selected, and is {image.status} now"
            failure = ImageFailure(image_id, "StorageClassChanged", reason)
        if failure:
            refused[image_id] = failure
    return refused


def protects(rules: Rules, tags: Sequence[str]) -> bool:
    """Returns whether an image with these tags is never deleted."""
    return _matching(tags, rules.protected_tags) is not None


def allowed_repositories(rules: Rules, request: DeletionRequest, existing: Callable[[], Iterable[str]]) -> list[str]:
    """Returns the repositories that a request for several means; patterns leave out what the stack protects."""
    patterns = [name for name in request.repository_names if "*" in name]
    named = [name for name in request.repository_names if "*" not in name]
    found = [
        name
        for name in (existing() if patterns else ())
        if _matching([name], patterns)
        and _matching([name], rules.repository_patterns)
        and (request.action == "restore" or not _matching([name], rules.protected_repositories))
    ]
    return sorted({*named, *found})


def _storage(image: ListedImage) -> tuple[str, float | None]:
    return image.status, image.archived


def _last(image_id: ImageId, left: set[str]) -> ImageFailure | None:
    """Takes the tag off those that are left on its image, unless it is the last."""
    if left <= {image_id.tag}:
        reason = "it is the image's last tag, and the image would go with it; to delete it, send it without untag"
        return ImageFailure(image_id, "LastTag", reason)
    left.discard(str(image_id.tag))
    return None


def _protected(image_id: ImageId, tags: Iterable[str], rules: Rules) -> ImageFailure | None:
    if not (pattern := _matching(tags, rules.protected_tags)):
        return None
    reason = f"the stack protects tags like {pattern!r}, which this image carries; ProtectedTags lists them"
    return ImageFailure(image_id, "ProtectedTag", reason)


def _matching(names: Iterable[str], patterns: Sequence[str]) -> str | None:
    """Returns the first pattern that one of the names matches."""
    return next((pattern for name in names for pattern in patterns if fnmatchcase(name, pattern)), None)
