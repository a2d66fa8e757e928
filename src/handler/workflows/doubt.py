"""Images of which a selection does not know what became: ECR was asked, its answer was lost, and no time was left.

They are written down. Whoever goes on looks at them first, be it a redelivery or the next turn, and counts what has
been done: it is not met in the repository any more, or not as something that is still to be done.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

from handler.models.errors import RefusedLookUpError
from handler.models.images import Image, ImageFailure, ImageId
from handler.models.outcomes import ChunkOutcome, image_ids_of
from handler.models.request import key_hash
from handler.models.selection_outcome import SelectionOutcome
from handler.registry import look_up

from .execution import Execution

_IDS_PER_STEP = 2_000

type Settled = Mapping[ImageId, Image | None]
"""Images, or tags, of which it is known by now that an earlier try has done what was asked; with what is there now."""


def leave_in_doubt(execution: Execution, image_ids: Sequence[ImageId], *, goes_on: bool) -> None:
    """Writes images down, or their tags: for the next try of this turn, or for the next turn if there is one."""
    turn = execution.request.turn + goes_on
    for some in itertools.batched(image_ids, _IDS_PER_STEP, strict=False):
        execution.steps.remember(f"doubt/{turn}/{key_hash(some)}", ChunkOutcome(some))


def left_in_doubt(execution: Execution) -> list[ImageId]:
    """Returns what earlier tries of this turn, and the last one of the turn before, have left so."""
    stored = execution.steps.remembered(f"doubt/{execution.request.turn}/")
    return [*{image_id: None for step in stored for image_id in image_ids_of(step["imageIds"])}]


def settle(execution: Execution, is_done: Callable[[ImageId, Image | None], bool]) -> Settled:
    """Looks at what was left in doubt. Raises ServiceUnavailableError and OutOfTimeError."""
    if not (doubtful := left_in_doubt(execution)):
        return {}
    try:
        found = look_up(execution.repository, doubtful)
    except RefusedLookUpError:  # which the request meets again, and reports
        return {}
    seen = {i: image for i in doubtful if not isinstance(image := found.get(i), ImageFailure)}
    settled = {image_id: image for image_id, image in seen.items() if is_done(image_id, image)}
    execution.log.info("images unconfirmed", extra={"imageIds": [image_id.to_json() for image_id in settled]})
    return settled


def with_settled(outcome: SelectionOutcome, settled: Settled) -> SelectionOutcome:
    """Returns an outcome with what an earlier try has done."""
    chunk = outcome.chunk
    chunk = chunk._replace(image_ids=(*settled, *chunk.image_ids), unconfirmed=(*settled, *chunk.unconfirmed))
    selected, deleted = outcome.selected + len(settled), outcome.deleted + len(settled)
    return outcome._replace(selected=selected, deleted=deleted, chunk=chunk)
