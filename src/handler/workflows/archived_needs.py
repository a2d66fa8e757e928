"""What indexes in the archive need, for requests that name images: none of them must come back without it.

ECR may let an image go that an archived index names; AWS does not say. So the stack knows what it archived itself.
Selections find it in the list of the repository, and need none of this.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from threading import Lock
from typing import TYPE_CHECKING

from handler import guards, registry
from handler.models.images import Image, ImageFailure, ImageId, LookUp, NamedManifests

if TYPE_CHECKING:
    from .execution import Execution


_FRESH_SECONDS = 2.0
_TIMES_THE_READ = 9
"""What took long to read is fresh for as many times as long, or nothing else would be done."""


class ArchivedNeeds:
    """What this stack remembers of the archive of one repository; threads share what they read for a moment."""

    def __init__(self, execution: "Execution") -> None:
        self._archive, self._repository = execution.archive, execution.repository
        self._read: tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]] | None = None
        self._fresh_until = 0.0
        self._calling = execution.invocation.deadline.calling
        self._lock = Lock()

    def read_manifests(self, image_ids: Sequence[ImageId]) -> dict[ImageId, NamedManifests | ImageFailure]:
        """Returns what images name, like the registry; of an index that cannot be pulled, as it was remembered.

        Raises what the registry raises, and ServiceUnavailableError.
        """
        found = registry.read_manifests(self._repository, image_ids)
        unread = [image_id for image_id in image_ids if not isinstance(found.get(image_id), NamedManifests)]
        names, _ = self._remembered() if unread else ({}, {})
        if names:
            for image_id, image in registry.look_up(self._repository, unread).items():
                if isinstance(image, Image) and image.status != "ACTIVE" and image.digest in names:
                    named = tuple(names[image.digest])
                    found[image_id] = NamedManifests(image.digest, named, tuple(d for d in named if d in names))
        return found

    def needing(
        self, image_ids: Sequence[ImageId], tags: AbstractSet[str], gone: AbstractSet[ImageId], look_up: LookUp
    ) -> dict[ImageId, str]:
        """Returns which images must stay, and the digest of an index that needs each.

        An image goes by its digest, with a tag beside it or not, or with its last tag: `tags` are all that the request
        names. `gone` is what a dry run has foreseen to be gone by then. Raises what the look-up raises, and
        ServiceUnavailableError.
        """
        _, needed_by = self._remembered()
        doubtful = [image_id for image_id in image_ids if image_id.tag is not None or image_id.digest in needed_by]
        if not (needed_by and doubtful):
            return {}
        going = {
            image_id: needed_by[image.digest]
            for image_id, image in look_up(doubtful).items()
            if isinstance(image, Image) and image.digest in needed_by and (image_id.digest or image.tags <= tags)
        }
        indexes = [ImageId(digest) for digest in sorted({*itertools.chain.from_iterable(going.values())})]
        found = look_up(indexes) if indexes else {}
        left = guards.Left(found, gone, by_archiving=False)
        hidden = {
            index.digest
            for index in indexes
            if isinstance(image := found.get(index), Image) and image.status != "ACTIVE" and left.is_there(index)
        }
        return {
            i: needing for i, owners in going.items() if (needing := next(filter(hidden.__contains__, owners), None))
        }

    def forget(self) -> None:
        """Has it read anew when it is asked next: the request itself has archived something."""
        with self._lock:
            self._read = None

    def _remembered(self) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]:
        """Returns what belongs to each image that was archived, and to which each of those belongs: all by digest."""
        with self._lock:
            # A large request has a hundred chunks, and its later passes come seconds after the first.
            if self._read is None or time.monotonic() > self._fresh_until:
                started = time.monotonic()
                with self._calling():
                    records = self._archive.read()
                names = {digest: record.names for digest, record in records.items() if record.names}
                needed_by: defaultdict[str, list[str]] = defaultdict(list)
                for index, named in names.items():
                    for digest in named:
                        needed_by[digest].append(index)
                self._read = names, dict(needed_by)
                ended = time.monotonic()
                self._fresh_until = ended + max(_FRESH_SECONDS, _TIMES_THE_READ * (ended - started))
            return self._read
