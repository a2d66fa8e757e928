"""A request that names its images: what belongs to them is found, then all are deleted in passes of chunks."""

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property, partial
from typing import TYPE_CHECKING

from handler import deletion, guards, registry
from handler.models.errors import RejectedRequestError
from handler.models.images import ImageFailure, ImageId, LookUp
from handler.models.outcomes import Admission, ChunkOutcome
from handler.models.report import DeletionReport
from handler.steps import Attempt

from .execution import Execution

if TYPE_CHECKING:
    from handler.models.families import FoundFamilies

    from .archived_needs import ArchivedNeeds


class NamedImages:
    """The steps of a request that names its images."""

    def __init__(self, execution: Execution) -> None:
        self._request, self._steps, self._services, self._invocation, self._log = execution
        self._execution, self._rules, self._repository = execution, execution.rules, execution.repository
        self._relatives = deletion.Relatives()
        self._archived = execution.archived_needs
        self._passes = deletion.PassRunner(self._request, self._steps, self._invocation.pool, self._log)

    def carry_out(self) -> DeletionReport:
        """Deletes the images that the request names, and what belongs to them where it says so.

        Raises RejectedRequestError where its relatives make it too large, and what a redelivery may cure.
        """
        if self._request.finds_relatives:
            self._find_relatives()
        return self._passes.run(self._relatives, self._take_chunk)

    @cached_property
    def _named(self) -> AbstractSet[ImageId]:
        """Made only where relatives are found: of thousands, it takes a millisecond."""
        return frozenset(self._request.image_ids)

    @cached_property
    def _tags(self) -> AbstractSet[str]:
        """Made only in stacks that archive, and once for all chunks, for the same reason."""
        return frozenset(image_id.tag for image_id in self._request.image_ids if image_id.tag is not None)

    def _find_relatives(self) -> None:
        from handler.relatives import RelativesFinder  # noqa: PLC0415  # what is not used is not imported

        request = self._request
        well_formed = [image_id for image_id in request.image_ids if not image_id.malformed()]
        finder = RelativesFinder(well_formed)
        self._relatives = finder.run(self._find_families, self._steps, self._invocation.pool)
        if request.cascade or request.action == "archive":
            self._steps.run("admission", Admission, self._admit)

    def _find_families(self, attempt: Attempt, *, image_ids: Sequence[ImageId]) -> "FoundFamilies":
        from handler.models.families import FoundFamilies  # noqa: PLC0415  # what is not used is not imported
        from handler.registry.families import find_families  # noqa: PLC0415

        del attempt  # looking twice does no harm
        if refused := self._refused(image_ids):
            return FoundFamilies(tuple(refused.values()))
        return find_families(
            self._repository,
            image_ids,
            self._remembered,
            restoring=self._request.action == "restore",
        )

    def _remembered(self, digests: Iterable[str]) -> Mapping[str, Sequence[str]]:
        return self._execution.archive.names_of(digests)

    def _refused(self, image_ids: Sequence[ImageId]) -> Mapping[ImageId, ImageFailure]:
        """Asks the guards that let nothing go, before anything is looked for."""
        # What was found to belong to an image is judged when it is its turn.
        named = list(itertools.takewhile(self._named.__contains__, image_ids))
        return guards.on_repository(self._rules, self._request, image_ids) or self._stopped(named)

    def _admit(self, attempt: Attempt) -> Admission:
        """Admits the request with its relatives; a lower limit does not reject it later."""
        del attempt
        limit = self._services.settings.max_images_per_request
        others = self._relatives.parents.keys() - self._relatives.digests.values()
        if (count := len(self._request.image_ids) + len(others)) > limit:
            by_cascade, by_action = (
                "request.cascade: with what belongs to them",
                "request.action: with what belongs to them",
            )
            raise RejectedRequestError(
                f"{by_cascade if self._request.cascade else by_action} these are {count:,} images, and a request may "
                f"{self._request.action} {limit:,}; send several requests, or set the stack's MaxImagesPerRequest"
            )
        return Admission(limit, 0, 0)

    def _take_chunk(
        self,
        attempt: Attempt,
        *,
        label: str,
        image_ids: Sequence[ImageId],
        gone: AbstractSet[ImageId],
        not_before: float,
    ) -> ChunkOutcome:
        self._invocation.deadline.sleep(not_before - time.monotonic())
        outcome = self._work(attempt, gone)(image_ids)
        # Logged at once: what is killed in the middle has logged what was done.
        self._log.info("chunk done", extra={"step": label, "failed": len(outcome.failures), "replayed": False})
        return outcome

    def _work(self, attempt: Attempt, gone: AbstractSet[ImageId]) -> Callable[[Sequence[ImageId]], ChunkOutcome]:
        """Returns what is done to a chunk."""
        return partial(
            registry.delete_images,
            self._repository,
            guard=partial(self._guard, gone=gone),
            log=self._log,
            effect=self._request.effect,
            first_attempt_at=attempt.first_attempt_at,
        )

    def _guard(
        self, image_ids: Sequence[ImageId], look_up: LookUp, gone: AbstractSet[ImageId]
    ) -> dict[ImageId, ImageFailure]:
        """Asks the guards of each kind of id about a chunk."""
        rules, request, parents = self._rules, self._request, self._relatives.parents
        if refused := guards.on_repository(rules, request, image_ids):
            return refused
        relatives = {i: None for i in image_ids if i.tag is None and i.digest in parents}
        named = [image_id for image_id in image_ids if image_id not in relatives]
        kept = self._on_relatives(list(relatives), look_up, gone)
        # A relative that stays anyway is no failure, whatever stops the others.
        if stopped := self._stopped(image_ids):
            return stopped | kept
        going = [image_id for image_id in relatives if image_id not in kept]
        refused = guard_named(self._execution, named, look_up, going, self._archived) | kept
        return refused | self._needed([i for i in image_ids if i not in refused], relatives, look_up, gone)

    def _needed(
        self,
        image_ids: Sequence[ImageId],
        relatives: Collection[ImageId],
        look_up: LookUp,
        gone: AbstractSet[ImageId],
    ) -> dict[ImageId, ImageFailure]:
        """Asks which images an index in the archive needs."""
        request = self._request
        if self._archived is None or request.action != "delete" or request.untag or not image_ids:
            return {}
        needing = self._archived.needing(image_ids, self._tags, gone if request.dry_run else frozenset(), look_up)
        reason = "{}, which is in the archive, needs it; delete that too, or restore it first"
        codes = {i: "StillUsed" if i in relatives else "ImageReferencedByManifestList" for i in needing}
        return {i: ImageFailure(i, codes[i], reason.format(index)) for i, index in needing.items()}

    def _on_relatives(
        self, image_ids: Sequence[ImageId], look_up: LookUp, gone: AbstractSet[ImageId]
    ) -> dict[ImageId, ImageFailure]:
        return guards.on_relatives(self._rules, self._request, self._relatives.parents, gone, image_ids, look_up)

    def _stopped(self, image_ids: Sequence[ImageId]) -> dict[ImageId, ImageFailure]:
        """Asks the guards that let nothing go, whatever it is."""
        return guards.on_dry_run(self._rules, self._request, image_ids) or guards.on_unknown_use(
            self._execution.use, image_ids
        )


def guard_named(
    execution: Execution,
    named: Sequence[ImageId],
    look_up: LookUp,
    relatives: Sequence[ImageId] = (),
    archived: "ArchivedNeeds | None" = None,
) -> dict[ImageId, ImageFailure]:
    """Asks the guards about images or tags that are named, and whether these and some relatives are in use."""
    rules, request = execution.rules, execution.request
    read = archived.read_manifests if archived else partial(registry.read_manifests, execution.repository)
    if request.untag:  # a tag that is in use is one that its image keeps
        used = guards.on_use(execution.use, request, [*named, *relatives], read, look_up)
        return used | guards.on_named(rules, request, [i for i in named if i not in used], look_up)
    refused = guards.on_named(rules, request, named, look_up)
    others = [image_id for image_id in (*named, *relatives) if image_id not in refused]
    return refused | guards.on_use(execution.use, request, others, read, look_up)
