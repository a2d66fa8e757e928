"""A request that removes tags of the images that it selects, and keeps the images."""

import time
from collections.abc import Mapping, Sequence

from handler import registry, selection
from handler.models.images import ImageFailure, ImageId, ListedImage, LookUp
from handler.models.outcomes import ChunkOutcome
from handler.models.selection_outcome import SelectionOutcome
from handler.registry.listing import Contents
from handler.selection.untag_plan import make_untag_plan

from .execution import Execution
from .image_ids import guard_named
from .selection import SPARED_SHOWN, SelectedImages


class SelectedTags(SelectedImages):
    """The steps of a request that says which tags are to be removed."""

    reads_indexes = False
    width = 1  # tags of one image that go side by side would each see the other left

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        self._spared: list[ImageFailure] = []
        self._archived = execution.archived_needs

    def _plan(self, contents: Contents) -> tuple[selection.Plan, Mapping[str, str]]:
        return make_untag_plan(self._selection, contents.images, time.time()), {}

    def _take(self, images: Sequence[ListedImage]) -> ChunkOutcome:
        # With its digest, a tag that has moved since is left alone.
        image_ids = [ImageId(image.digest, image.tags[0]) for image in images]
        outcome = registry.delete_images(
            self._repository, image_ids, self._guard, self._log, effect=self._request.effect, first_attempt_at=None
        )
        self._spared += [failure for failure in outcome.failures if failure.code == "ImageInUse"]
        return outcome

    def _guard(self, image_ids: Sequence[ImageId], look_up: LookUp) -> dict[ImageId, ImageFailure]:
        """Asks the guards of named tags: what has changed since the selection was made, is seen too."""
        return guard_named(self._execution, image_ids, look_up, archived=self._archived)

    def _finished(self, outcome: SelectionOutcome) -> SelectionOutcome:
        return super()._finished(outcome)._replace(in_use=tuple(self._spared[:SPARED_SHOWN]))
