"""Finds what belongs to the images of a request, before anything becomes of them; knows no AWS client."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from .concurrency import TaskPool
from .deletion import Relatives
from .models.failure_codes import leaves_relatives_unknown
from .models.families import Family, FoundFamilies
from .models.images import ImageFailure, ImageId
from .steps import Attempt, StepRunner

_FAMILIES_PER_STEP = 20
"""Images whose relatives one step looks for, each with a call of its own."""


class FindFamilies(Protocol):
    """Looks for what belongs to some images, as a step."""

    def __call__(self, attempt: Attempt, *, image_ids: Sequence[ImageId]) -> FoundFamilies: ...


class RelativesFinder:
    """Finds what belongs to images, and in turn what belongs to that, in rounds of small steps.

    Before anything is deleted: once an index is gone, nothing in ECR says what it named.
    """

    def __init__(self, image_ids: Sequence[ImageId]) -> None:
        self._asked = dict.fromkeys(image_ids)
        self._digests: dict[ImageId, str] = {}
        self._parents: dict[str, list[str]] = {}
        self._failures: dict[ImageId, ImageFailure] = {}
        self._unknown: dict[str, ImageFailure] = {}
        self._names: dict[str, Sequence[str]] = {}

    def run(self, find_families: FindFamilies, steps: StepRunner, pool: TaskPool) -> Relatives:
        """Returns the relatives of all the images. Raises what a step raised."""
        pending: list[ImageId] = list(self._asked)
        for number in itertools.count():
            chunks = list(itertools.batched(pending, _FAMILIES_PER_STEP, strict=False))
            found = pool.run(
                partial(steps.run, f"find/{number}/{n}", FoundFamilies, partial(find_families, image_ids=chunk))
                for n, chunk in enumerate(chunks)
            )
            pending = []
            for chunk, (outcome, _) in zip(chunks, found, strict=True):
                pending += chunk[len(outcome.families) :]  # what did not fit into what one step may store
                for image_id, family in zip(chunk, outcome.families, strict=False):
                    pending += self._add(image_id, family)
            if not pending:
                break
        self._fail_owners_of_unknown()
        unasked = {digest: p for digest, p in self._parents.items() if ImageId(digest=digest) not in self._asked}
        return Relatives(unasked, self._failures, self._names, self._digests)

    def _add(self, image_id: ImageId, family: Family | ImageFailure | None) -> list[ImageId]:
        """Adds what was found of an image; returns what is to be looked at in turn."""
        if isinstance(family, ImageFailure):
            if image_id.digest and leaves_relatives_unknown(family.code):
                self._unknown[image_id.digest] = family
            if image_id in self._asked or not leaves_relatives_unknown(family.code):
                self._failures[image_id] = family
        if not isinstance(family, Family):
            return []
        if image_id in self._asked:
            self._digests[image_id] = family.digest
        parents = self._parents.get(family.digest)
        # What an index names may be the signature of another image, which may stay.
        if parents and family.subject and family.subject not in parents:
            parents.append(family.subject)
        if family.digest in self._names:
            return []
        self._names[family.digest] = family.relatives
        new = [i for digest in family.relatives if digest not in self._parents and (i := ImageId(digest=digest))]
        for digest in family.relatives:
            self._parents.setdefault(digest, []).append(family.digest)
        return [image_id for image_id in new if image_id not in self._asked]

    def _fail_owners_of_unknown(self) -> None:
        """Fails the images of the request to which something belongs whose own relatives cannot be known."""
        for digest, failure in self._unknown.items():
            ancestors = self._ancestors(digest)
            self._failures |= {i: failure._replace(image_id=i) for i, own in self._digests.items() if own in ancestors}

    def _ancestors(self, digest: str) -> set[str]:
        found: set[str] = set()
        pending = [digest]
        while pending:
            new = [parent for parent in self._parents.get(pending.pop(), ()) if parent not in found]
            found.update(new)
            pending += new
        return found
