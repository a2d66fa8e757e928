"""What the guard knows of use while an invocation lasts: of each repository once, and of the sources once."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import NamedTuple

from .inventory import Inventory, Source, StoredUse

_CLOCK_SECONDS = 300
"""How far ahead another clock may be. What was read later than that has a time that says nothing of its age."""


class RepositoryUse(NamedTuple):
    """What is known to be in use of a repository."""

    unknown: str | None = None
    """Why it is not known; None if it is."""
    digests: Mapping[str, str] = {}
    """By digest, who uses the image."""
    tags: Mapping[str, str] = {}
    """By tag, who uses whatever image has it."""


class Usage:
    """What is known to be in use, as one invocation asks for it; threads share it."""

    def __init__(self, inventory: Inventory, sources: Sequence[str]) -> None:
        """`sources` are those that must have spoken, or nothing is known."""
        self._inventory, self._sources = inventory, sources
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._of: dict[str, RepositoryUse] = {}
        self._unknown: str | None = None
        self._lock = Lock()
        self._asked = False

    def of(self, repository_name: str) -> RepositoryUse:
        """Returns what is in use of a repository. Raises what DynamoDB raises, and ServiceUnavailableError."""
        with self._lock:
            if not self._asked:
                self._unknown = _unknown(self._inventory.sources(), self._sources)
                self._asked = True
            lock = self._locks[repository_name]
        if self._unknown:
            return RepositoryUse(self._unknown)
        with lock:
            if repository_name not in self._of:
                self._of[repository_name] = _summarized(self._inventory.uses(repository_name))
            return self._of[repository_name]


def _unknown(known: Mapping[str, Source], wanted: Iterable[str]) -> str | None:
    """Returns which of the sources are not believed, and since when."""
    now = time.time()
    silent = []
    for name in wanted:
        source = known.get(name)
        if source is None:
            silent.append(f"{name} has never been read whole")
        elif source.began > now + _CLOCK_SECONDS:
            silent.append(f"{name} was read in the future, at {_time(source.began)}: a clock is wrong")
        elif source.expires <= now:
            silent.append(f"{name} was last read at {_time(source.began)} and believed until {_time(source.expires)}")
    return "; ".join(silent) or None


def _summarized(uses: Iterable[StoredUse]) -> RepositoryUse:
    digests: defaultdict[str, list[StoredUse]] = defaultdict(list)
    tags: defaultdict[str, list[StoredUse]] = defaultdict(list)
    for use in uses:
        if use.image_id.digest is not None:
            digests[use.image_id.digest].append(use)
        else:
            tags[str(use.image_id.tag)].append(use)
    return RepositoryUse(
        digests={digest: _users(uses) for digest, uses in digests.items()},
        tags={tag: _users(uses) for tag, uses in tags.items()},
    )


def _users(uses: Sequence[StoredUse]) -> str:
    """Returns the one of the users that was seen first, since when, and how many others there are."""
    first = min(uses, key=lambda use: (use.since, use.user))
    others = len({use.user for use in uses}) - 1
    more = f", and by {others} more" if others else ""
    return f"{first.user} since {datetime.fromtimestamp(first.since, UTC):%Y-%m-%d}{more}"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
