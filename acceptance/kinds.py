"""One request of each kind, with the repository that it is about and what must be left there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from .repositories import Images, Repository
from .world import World

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and the images that must be there afterwards, no more and no fewer."""

    request: Json
    repository: Repository
    left: Images
    archived: frozenset[str] = frozenset()
    """Digests of those of them that are in the archive."""
    others: tuple[Self, ...] = ()
    """The same of other repositories that the request is about as well."""

    def is_done(self) -> bool:
        """Whether everything is as it should be."""
        return self._is_done() and all(other.is_done() for other in self.others)

    def _is_done(self) -> bool:
        if not self.archived:
            return self.repository.images() == self.left
        described = self.repository.described("ARCHIVED")
        return {image["imageDigest"] for image in described} == self.archived


def named(world: World, name: str) -> Case:
    """Deletes one of two images by its tag."""
    repository = world.repository(name)
    repository.push_image(f"{name} old", "old")
    kept = repository.push_image(f"{name} kept", "kept")
    return Case({"imageIds": ["imageTag=old"]}, repository, {(kept, ("kept",))})


def selected(world: World, name: str) -> Case:
    """Deletes the one of three images that the patterns mean."""
    repository = world.repository(name)
    repository.push_image(f"{name} pr-1", "pr-1")
    kept = repository.push_image(f"{name} pr-2", "pr-2", "pr-2-keep")
    other = repository.push_image(f"{name} main", "main")
    selection = {"tagStatus": "tagged", "tagPatternList": ["pr-*"], "excludeTagPatternList": ["*-keep"]}
    return Case({"selection": selection}, repository, {(kept, ("pr-2", "pr-2-keep")), (other, ("main",))})


def untagged(world: World, name: str) -> Case:
    """Removes one of two tags of an image."""
    repository = world.repository(name)
    image = repository.push_image(f"{name} old", "old", "kept")
    return Case({"imageIds": ["imageTag=old"], "untag": True}, repository, {(image, ("kept",))})


def cascaded(world: World, name: str) -> Case:
    """Deletes a multi-architecture image with its signatures; another one stays as it is."""
    repository = world.repository(name)
    repository.push_signed(f"{name} old", "old")
    kept = repository.push_signed(f"{name} kept", "kept")
    before = {
        (digest, tags) for digest, tags in repository.images() if digest in {manifest.digest for manifest in kept.all}
    }
    return Case({"imageIds": ["imageTag=old"], "cascade": True}, repository, before)


def archived(world: World, name: str) -> Case:
    """Archives one of two images."""
    repository = world.repository(name)
    old = repository.push_image(f"{name} old", "old")
    kept = repository.push_image(f"{name} kept", "kept")
    left: Images = {(old, ("old",)), (kept, ("kept",))}
    return Case({"imageIds": ["imageTag=old"], "action": "archive"}, repository, left, frozenset({old}))


def several(world: World, name: str) -> Case:
    """Deletes an image in each of two repositories, which a pattern means."""
    one, other = (named(world, f"{name}/{which}") for which in ("one", "other"))
    request = {"repositoryNames": [world.run.repository(f"{name}/*")], "imageIds": ["imageTag=old"]}
    return Case(request, one.repository, one.left, others=(other,))


KINDS: Mapping[str, Callable[[World, str], Case]] = {
    "named": named,
    "selected": selected,
    "untagged": untagged,
    "cascaded": cascaded,
    "archived": archived,
    "several": several,
}
"""A dry run has a check of its own: it changes nothing, so nothing shows from outside that it has arrived."""
NEEDS = {"archived": ("AllowArchive",), "selected": ("GracePeriodDays", "MaxPercentOfRepository")}
"""The parameters of the stack that a kind needs."""


def request_of(case: Case, request_id: str) -> Json:
    """Returns the whole request."""
    about = {} if "repositoryNames" in case.request else {"repositoryName": case.repository.name}
    return {**about, "requestId": request_id, "reason": "acceptance", **case.request}
