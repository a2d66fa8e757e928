"""A request that removes tags of the images that it selects, and keeps the images."""

from collections.abc import Mapping, Sequence
from functools import partial

from handler import guards, registry, selection
from handler.models.images import ImageFailure, ImageId, ListedImage, LookUp
from handler.models.outcomes import ChunkOutcome

from .archive import Archive
from .selection import SelectedImages


class SelectedTags(SelectedImages):
    """The steps of a request that says which tags are to be removed."""

    width = 1  # tags of one image that go side by side would each see the other left

    def _plan(
        self, images: Sequence[ListedImage], named: Mapping[str, Sequence[str] | None], archive: Archive
    ) -> tuple[selection.Plan, Mapping[str, str]]:
        del named
        return selection.make_untag_plan(self._selection, images, archive.now, archive.only(images)), {}

    def _take(self, images: Sequence[ListedImage]) -> ChunkOutcome:
        # With its digest, a tag that has moved since is left alone.
        image_ids = [ImageId(image.digest, image.tags[0]) for image in images]
        return registry.delete_images(
            self._repository, image_ids, self._guard, self._log, effect=self._request.effect, first_attempt_at=None
        )

    def _guard(self, image_ids: Sequence[ImageId], look_up: LookUp) -> dict[ImageId, ImageFailure]:
        """Asks the guards of named tags: what has changed since the selection was made, is seen too."""
        refused = guards.on_named(self._rules, self._request, image_ids, look_up)
        others = [image_id for image_id in image_ids if image_id not in refused]
        read = partial(registry.read_manifests, self._repository)
        return refused | guards.on_use(self._execution.use, self._request, others, read, look_up)
