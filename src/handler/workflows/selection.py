"""A request that says which images it means: the repository is listed, a plan made, and what it selects is taken.

That is one step: done again, it is done with what is left. Within it are steps that further turns share: what was
admitted, and what goes along with something. When time runs short, another message continues it.
"""

import itertools
import logging
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property, partial

from handler import guards, registry, request_queue, selection
from handler.models.errors import OutOfTimeError, RefusedLookUpError, RejectedRequestError
from handler.models.images import Image, ImageFailure, ImageId, ListedImage
from handler.models.limits import MAX_TURNS, STORED_BYTES
from handler.models.outcomes import Admission, ChunkOutcome
from handler.models.report import DeletionReport
from handler.models.request import Action, Selection, key_hash
from handler.models.selection_outcome import Digests, SelectionOutcome
from handler.registry.listing import Contents, read_repository
from handler.steps import Attempt

from .doubt import Settled, leave_in_doubt, settle, with_settled
from .execution import Execution, Named

_DIGESTS_PER_STEP = 4_000
AGAIN = (
    "an earlier receive was not finished either; the bulk function has as long as the stack's BulkTimeout says: raise "
    "that, or send the request again under a new requestId when ECR answers faster"
)
"""What there is to do where a repository cannot be listed in time."""
SPARED_SHOWN = 100
"""Images in use of which the report says by whom; it counts the others."""


class SelectedImages:
    """The steps of a request that says which images are to be deleted."""

    action: Action = "delete"
    """What becomes of the images."""
    reads_indexes = True
    """Whether it matters what belongs to what."""
    width: int | None = None
    """How many chunks are taken side by side; None for as many as there are threads for."""
    _first_attempt_at: float | None = None
    """When the first try of this turn began, in seconds since the epoch, if this is not it."""

    def __init__(self, execution: Execution) -> None:
        self._request, self._steps, self._services, self._invocation, self._log = execution
        self._execution, self._rules, self._repository = execution, execution.rules, execution.repository
        self._selection = self._request.selection or Selection("any")
        self._settled: Settled = {}

    def carry_out(self) -> DeletionReport:
        """Takes what the selection means, as far as time allows.

        Raises RejectedRequestError where it means too much, and what kept it from deleting anything.
        """
        outcome, _ = self._steps.run("selection", SelectionOutcome, self._select, store_in_claim=True)
        return DeletionReport(
            self._request,
            outcome.chunk.image_ids,
            outcome.chunk.failures,
            outcome.chunk.unconfirmed,
            kept=outcome.in_use,
            omitted=outcome.chunk.omitted,
            activating=outcome.chunk.activating,
            selection=outcome,
            replayed=self._steps.replaying,
        )

    def _select(self, attempt: Attempt) -> SelectionOutcome:
        """Selects and takes, unless time did not suffice for anything, and an earlier receive was not finished either.

        Once, ECR may have been slow. Then, the next receive would end like that as well.
        """
        # Images go by digest: what an earlier try has done is not there any more, or is where it is to be.
        self._first_attempt_at = attempt.first_attempt_at
        try:
            outcome = self._take_selected()
        except OutOfTimeError as error:
            if not self._steps.met_unfinished:
                raise
            outcome = self._failed([ImageFailure(ImageId(), "TimedOut", f"{error}; nothing was deleted now; {AGAIN}")])
        return outcome.truncated(STORED_BYTES)

    def _take_selected(self) -> SelectionOutcome:
        if not guards.on_repository(self._rules, self._request, [ImageId()]):
            self._settled = self._settle()
        if refused := self._refused():
            return self._failed(refused)
        after_grace = self._selection.count_type == "gracePeriodEnded"
        if after_grace and self._nothing_ended():
            return self._failed(())
        try:
            contents = read_repository(self._repository, indexes=self.reads_indexes, in_parts=self._in_parts)
        except RefusedLookUpError as error:
            if after_grace and error.code == "RepositoryNotFoundException":
                return self._failed(())
            return self._failed([ImageFailure(ImageId(), error.code, error.reason)])
        plan, users = self._plan(contents)
        extra = {"images": len(contents.images), "selected": plan.selected, "kept": plan.reasons}
        self._log.info("selection made", extra=extra)
        if self._log.isEnabledFor(logging.DEBUG):
            for digest, reason in plan.kept.items():
                extra = {"imageDigest": digest, "why": reason}
                self._log.debug("image kept", extra=extra | ({"usedBy": users[digest]} if reason == "InUse" else {}))
        if grown := self._admit(plan, len(contents.images)):
            return self._failed([ImageFailure(ImageId(), "SelectionGrew", grown)])
        self._prepare(plan)
        pool, leave = self._invocation.pool, partial(leave_in_doubt, self._execution)
        outcome, whole = selection.take_planned(plan, self._take, leave, pool, self._log, self.width)
        spared = itertools.islice((digest for digest, reason in plan.kept.items() if reason == "InUse"), SPARED_SHOWN)
        outcome = outcome._replace(in_use=tuple(guards.in_use(ImageId(digest), users[digest]) for digest in spared))
        outcome = self._with_settled(self._finished(outcome))
        return outcome if whole else self._continued(outcome)

    def _settle(self) -> Settled:
        """Looks at what was in doubt; returns what has been done of it."""
        return settle(self._execution, self._is_done)

    def _is_done(self, image_id: ImageId, image: Image | None) -> bool:
        """Returns whether an image is gone, or its tag: none is there, or another one."""
        return image is None or image.digest != image_id.digest

    def _with_settled(self, outcome: SelectionOutcome) -> SelectionOutcome:
        """Adds what an earlier try has done."""
        return with_settled(outcome, self._settled)

    @property
    def _in_parts(self) -> bool:
        """Whether the repository may be listed in parts: ECR itself must keep what an index needs that is missed."""
        return self.action == "delete" and not self._selection.of_archive

    def _nothing_ended(self) -> bool:
        from .archive import nothing_ended  # noqa: PLC0415  # what is not used is not imported

        return nothing_ended(self._execution)

    def _refused(self) -> Iterable[ImageFailure]:
        """Asks the guards that let nothing go, whatever the selection means."""
        whole = [ImageId()]
        return (
            guards.on_repository(self._rules, self._request, whole)
            or guards.on_dry_run(self._rules, self._request, whole)
            or guards.on_unknown_use(self._execution.use, whole)
        ).values()

    def _plan(self, contents: Contents) -> tuple[selection.Plan, Mapping[str, str]]:
        """Returns what is to be taken, and who uses which image."""
        images, (named, archived) = contents.images, self._execution.remember_archive(contents)
        users = self._users(images, named)
        protection = self._protection(users)
        if archived:
            protection = protection._replace(in_grace=archived.in_grace, only=archived.only)
        return self._make_plan(images, named, protection, self._remembered), users

    def _users(self, images: Sequence[ListedImage], named: Named) -> Mapping[str, str]:
        use = self._execution.use
        return use.among(images, named) if use else {}

    def _protection(self, users: Mapping[str, str]) -> selection.Protection:
        protects = partial(guards.protects, self._rules)
        return selection.Protection(protects, users.keys(), restored_since=self._restored_since)

    def _make_plan(
        self,
        images: Sequence[ListedImage],
        named: Named,
        protection: selection.Protection,
        remembered: Collection[str],
    ) -> selection.Plan:
        return selection.make_plan(self._selection, images, named, protection, time.time(), remembered)

    @property
    def _restored_since(self) -> float:
        """From when on an image must have been restored to stay; in seconds since the epoch."""
        return math.inf

    @cached_property
    def _remembered(self) -> set[str]:
        """The digests of what goes along with something that is gone already."""
        return self._digests("along")

    def _digests(self, what: str) -> set[str]:
        """Returns the digests that earlier tries and turns have stored."""
        return {digest for stored in self._steps.remembered(f"{what}/") for digest in stored["digests"]}

    def _admit(self, plan: selection.Plan, total: int) -> str | None:
        """Admits the plan, or rejects it; returns why the plan of an admitted request is beyond what was admitted.

        With what its earlier turns have taken: the limits are those of the request. What a grace period has kept was
        admitted when it was to be deleted.
        """
        if self._selection.count_type == "gracePeriodEnded":
            return None
        percent = self._request.allow_percent or self._services.settings.max_percent_of_repository
        limits = Admission(self._services.settings.max_images_per_request, percent, total)

        def check(_: Attempt) -> Admission:
            if refusal := plan.over_limits(limits, self.action):
                raise RejectedRequestError(refusal)
            return limits

        admitted, replayed = self._steps.run("admission", Admission, check, of_all_turns=True)
        if not replayed:
            return None
        # What earlier turns have deleted counts in both; what they have archived is still there.
        taken = self._request.taken + len(self._settled)
        images = total + (taken if self.action == "delete" and not self._request.untag else 0)
        admitted = admitted._replace(repository_images=max(images, admitted.repository_images))
        return plan.over_limits(admitted, self.action, taken)

    def _prepare(self, plan: selection.Plan) -> None:
        """Stores what goes along with something: once an index is gone, nothing in ECR says what it named."""
        if self._request.dry_run:
            return
        new = plan.followers - self._remembered
        self._remember("along", [image.digest for level in plan.levels for image in level if image.digest in new])

    def _remember(self, what: str, digests: Sequence[str]) -> None:
        for some in itertools.batched(digests, _DIGESTS_PER_STEP, strict=False):
            self._steps.remember(f"{what}/{key_hash(some)}", Digests(some))

    def _take(self, images: Sequence[ListedImage]) -> ChunkOutcome:
        selected = {ImageId(digest=image.digest): image for image in images}
        return registry.delete_images(
            self._repository,
            list(selected),
            partial(guards.on_selected, selected),
            self._log,
            effect=self._request.effect,
            first_attempt_at=None,
        )

    def _finished(self, outcome: SelectionOutcome) -> SelectionOutcome:
        """Adds what there is to say of the outcome."""
        return outcome._replace(action=self.action)

    def _failed(self, failures: Iterable[ImageFailure]) -> SelectionOutcome:
        """Returns the outcome where nothing could be selected."""
        return self._with_settled(SelectionOutcome(chunk=ChunkOutcome(failures=tuple(failures)), action=self.action))

    def _continued(self, outcome: SelectionOutcome) -> SelectionOutcome:
        """Sends the message that continues the selection."""
        if self._request.dry_run:  # what is still there would be foreseen again, without end
            if not self._steps.met_unfinished:
                raise OutOfTimeError("the dry run did not come to its end; a redelivery makes it again")
            return _stopped(outcome, "TimedOut", f"time ran out before all was foreseen; {AGAIN}")
        if self._request.turn >= MAX_TURNS:
            reason = f"it was continued {MAX_TURNS} times and is not done; find out what holds it up, and send it again"
            return _stopped(outcome, "TooManyTurns", reason)
        message = request_queue.next_turn(self._request, self._steps.generation, outcome.deleted)
        # Whatever time is left: that it is short is why the selection stopped.
        url, group = self._services.settings.bulk_queue_url, request_queue.group(self._request)
        request_queue.send(self._services.sqs, url, [message], nullcontext, group)
        return outcome._replace(continued_as=message["followUp"]["requestId"])


def _stopped(outcome: SelectionOutcome, code: str, reason: str) -> SelectionOutcome:
    """Returns an outcome with one failure more: why it does not go on."""
    failures = (*outcome.chunk.failures, ImageFailure(ImageId(), code, reason))
    return outcome._replace(chunk=outcome.chunk._replace(failures=failures))
