"""What the guard knows of use while an invocation lasts: of each repository once, and of the sources once."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock

from handler.models.images import ImageFailure, ImageId, ListedImage, LookUp, ReadManifests

from .closure import Users, in_use_among, in_use_of, named_by
from .inventory import Inventory, Source, StoredUse


class RepositoryUse:
    """What is known to be in use of a repository."""

    def __init__(self, unknown: str | None = None, uses: Iterable[StoredUse] = ()) -> None:
        self.unknown = unknown
        """Why it is not known; None if it is."""
        self.digests, self.tags = _users(uses)
        """By digest and by tag, who uses an image."""
        self._digests: Users | None = None
        self._lock = Lock()

    @property
    def nothing(self) -> bool:
        """Whether nothing of the repository is in use."""
        return not (self.unknown or self.digests or self.tags)

    def of(
        self, image_ids: Sequence[ImageId], read: ReadManifests, look_up: LookUp
    ) -> dict[ImageId, str | ImageFailure]:
        """Returns which of up to 100 images are in use, and by whom; a failure where that cannot be known.

        Raises what the look-ups raise.
        """
        with self._lock:
            if self._digests is None:
                names = {ImageId(digest): user for digest, user in self.digests.items()}
                names |= {ImageId(tag=tag): user for tag, user in self.tags.items()}
                self._digests = named_by(names, read) | self.digests
        return in_use_of(image_ids, self._digests, self.tags, read, look_up)

    def among(self, images: Sequence[ListedImage], named: Mapping[str, Sequence[str] | None]) -> Users:
        """Returns which images of the whole repository are in use, and by whom; `named` is what each index names."""
        return {} if self.nothing else in_use_among(images, named, self.digests, self.tags)


class Usage:
    """What is known to be in use, as one invocation asks for it; threads share it."""

    def __init__(self, inventory: Inventory, sources: Sequence[str]) -> None:
        """`sources` are those that must be believed, or nothing is known."""
        self._inventory, self._sources = inventory, sources
        self._repositories: dict[str, RepositoryUse] = {}
        self._unknown: str | None = None
        self._asked = False
        self._lock = Lock()

    def of(self, repository_name: str) -> RepositoryUse:
        """Returns what is in use of a repository. Raises ServiceUnavailableError, and what DynamoDB raises."""
        with self._lock:
            if not self._asked:
                self._unknown, self._asked = _unknown(self._inventory.sources(), self._sources), True
            if repository_name not in self._repositories:
                uses = [] if self._unknown else self._inventory.uses(repository_name)
                # A source that the stack does not have any more has no say.
                uses = [use for use in uses if use.source in self._sources]
                self._repositories[repository_name] = RepositoryUse(self._unknown, uses)
            return self._repositories[repository_name]


def _unknown(known: Mapping[str, Source], wanted: Iterable[str]) -> str | None:
    """Returns which of the sources are not believed, and since when."""
    now = time.time()
    silent = []
    for name in wanted:
        source = known.get(name)
        if source is None:
            silent.append(f"{name} has never been read whole")
        elif source.is_ahead(now):
            silent.append(f"{name} was read in the future, at {_time(source.began)}: a clock is wrong")
        elif not source.is_believed(now):
            silent.append(f"{name} was last read at {_time(source.began)} and believed until {_time(source.expires)}")
    return "; ".join(silent) or None


def _users(uses: Iterable[StoredUse]) -> tuple[Users, Users]:
    """Returns who uses what by its digest, and by its tag."""
    by_digest: defaultdict[str, list[StoredUse]] = defaultdict(list)
    by_tag: defaultdict[str, list[StoredUse]] = defaultdict(list)
    for use in uses:
        if use.image_id.digest is not None:
            by_digest[use.image_id.digest].append(use)
        else:
            by_tag[str(use.image_id.tag)].append(use)
    digests, tags = ({name: _names(uses) for name, uses in found.items()} for found in (by_digest, by_tag))
    return digests, tags


def _names(uses: Sequence[StoredUse]) -> str:
    """Returns the user that was seen first, since when, and how many others there are."""
    first = min(uses, key=lambda use: (use.since, use.user))
    others = len({use.user for use in uses}) - 1
    more = f", and {others} more" if others else ""
    return f"{first.user} since {datetime.fromtimestamp(first.since, UTC):%Y-%m-%d}{more}"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
