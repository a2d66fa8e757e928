"""Which tags a selection removes of the images that it means."""

from collections.abc import Collection, Sequence

from handler.models.images import ListedImage
from handler.models.request import Selection

from .plan import Plan, Protection, matched_by_one, verdicts


def make_untag_plan(
    selection: Selection, images: Sequence[ListedImage], now: float, only: Collection[str] | None
) -> Plan:
    """Plans which tags are removed: of each image that is meant, those that match one of the patterns.

    No image goes, so nothing that belongs to one is asked for. The guards speak of each tag when it is its turn.
    """
    tags: list[ListedImage] = []
    kept: dict[str, str] = {}
    for image, reason in verdicts(selection, images, Protection(lambda _: False, only=only), now):
        if reason:
            kept[image.digest] = reason
            continue
        each = [image._replace(tags=(tag,), size=0) for tag in sorted(image.tags)]
        tags += [one for one in each if matched_by_one(one, selection.tag_patterns)]
    return Plan([tags], kept, {}, frozenset(), of_tags=True)
