"""What may never be deleted, whoever asks: each verdict is a failure like ECR's own, with a code and a way out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase
from typing import NamedTuple

from .models import (
    DeletionRequest,
    Image,
    ImageFailure,
    ImageId,
    ListedImage,
    LookUp,
    RejectedRequestError,
    Relatives,
)


class Rules(NamedTuple):
    """What the stack protects, as glob patterns."""

    protected_tags: tuple[str, ...] = ()
    protected_repositories: tuple[str, ...] = ()
    repository_pattern: str = "*"
    """What a pattern of repository names can mean at all."""


def verdicts(
    rules: Rules, request: DeletionRequest, image_ids: Sequence[ImageId], look_up: LookUp
) -> dict[ImageId, ImageFailure]:
    """The ids of a request that must not be deleted, and why.

    Looks up only what a rule in use must know; what it does not find, or cannot see, is not deleted either.
    """
    if pattern := _matching([request.repository_name], rules.protected_repositories):
        reason = f"the stack protects repositories named {pattern!r}; ProtectedRepositories lists them"
        return {image_id: ImageFailure(image_id, "ProtectedRepository", reason) for image_id in image_ids}
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
        failure = _unseen(image_id, image) or _moved(image_id, image)
        if failure is None and isinstance(image, Image):
            left = tags_left.setdefault(image.digest, set(image.tags))
            failure = _last(image_id, left) if request.untag else _protected(image_id, sorted(image.tags), rules)
        if failure:
            refused[image_id] = failure
    return refused


def spread(rules: Rules, request: DeletionRequest, existing: Callable[[], Iterable[str]]) -> list[str]:
    """The repositories that a request for several means; patterns leave out what the stack protects.

    Raises RejectedRequestError when they are none.
    """
    patterns = [name for name in request.repository_names if "*" in name]
    named = [name for name in request.repository_names if "*" not in name]
    found = [
        name
        for name in (existing() if patterns else ())
        if _matching([name], patterns)
        and fnmatchcase(name, rules.repository_pattern)
        and not _matching([name], rules.protected_repositories)
    ]
    if not (names := list(dict.fromkeys([*named, *found]))):
        raise RejectedRequestError(
            "request.repositoryNames means no repository; the stack's RepositoryPattern is "
            f"{rules.repository_pattern!r}"
        )
    return names


def protects(rules: Rules, tags: Sequence[str]) -> bool:
    """Whether an image with these tags is never deleted."""
    return _matching(tags, rules.protected_tags) is not None


def verdicts_on_selected(
    selected: Mapping[ImageId, ListedImage], image_ids: Sequence[ImageId], look_up: LookUp
) -> dict[ImageId, ImageFailure]:
    """The images of a selection that are not what was meant any more: they have gained a tag since, or are gone."""
    found = look_up(image_ids)
    refused: dict[ImageId, ImageFailure] = {}
    for image_id in image_ids:
        image = found.get(image_id)
        failure = _unseen(image_id, image)
        if isinstance(image, Image) and (gained := image.tags.difference(selected[image_id].tags)):
            failure = ImageFailure(image_id, "TaggedSince", f"it has been tagged {min(gained)} since it was selected")
        if failure:
            refused[image_id] = failure
    return refused


def verdicts_on_relatives(
    request: DeletionRequest,
    relatives: Relatives,
    gone: AbstractSet[ImageId],
    image_ids: Sequence[ImageId],
    look_up: LookUp,
) -> dict[ImageId, ImageFailure]:
    """The relatives of a request's images that stay, and why.

    One stays that carries a tag of its own, or whose index or subject is still there; in a dry run, one whose index or
    subject is not among the `gone`, those that would have been deleted.
    """
    parents = {i: [ImageId(digest) for digest in relatives.parents[str(i.digest)]] for i in image_ids}
    found = look_up([*image_ids, *{parent for of in parents.values() for parent in of}])

    def tags_left(image: Image) -> set[str]:
        return {tag for tag in image.tags if not (request.dry_run and ImageId(image.digest, tag) in gone)}

    def still_there(image_id: ImageId) -> bool:
        image = found.get(image_id)
        if not (request.dry_run and isinstance(image, Image)):
            return image is not None
        return bool(tags_left(image)) if image.tags else ImageId(image.digest) not in gone

    kept: dict[ImageId, ImageFailure] = {}
    for image_id in image_ids:
        image = found.get(image_id) if still_there(image_id) else None
        failure = _unseen(image_id, image)
        if failure is None and isinstance(image, Image):
            if tags := tags_left(image):
                failure = ImageFailure(image_id, "StillTagged", f"it has a tag of its own: {min(tags)}")
            elif users := [str(parent.digest) for parent in parents[image_id] if still_there(parent)]:
                failure = ImageFailure(image_id, "StillUsed", f"{users[0]} still needs it")
            elif not request.cascade:
                failure = ImageFailure(image_id, "LeftUntagged", "what it belonged to is gone")
        if failure:
            kept[image_id] = failure
    return kept


def _unseen(image_id: ImageId, image: Image | ImageFailure | None) -> ImageFailure | None:
    """Nothing is deleted on doubt."""
    if isinstance(image, ImageFailure):
        return image
    return ImageFailure(image_id, "ImageNotFound", "Requested image not found") if image is None else None


def _moved(image_id: ImageId, image: Image | ImageFailure | None) -> ImageFailure | None:
    if not isinstance(image, Image) or image_id.digest in (None, image.digest):
        return None
    reason = f"the tag names {image.digest} by now; to delete that one, ask for it"
    return ImageFailure(image_id, "ImageTagDoesNotMatchDigest", reason)


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
    """The first pattern that one of the names matches."""
    return next((pattern for name in names for pattern in patterns if fnmatchcase(name, pattern)), None)
