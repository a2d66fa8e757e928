"""Which tags a selection removes of the images that it means."""

from collections.abc import Sequence

from handler.models.images import ListedImage
from handler.models.limits import CHUNK_SIZE
from handler.models.request import Selection

from .plan import Plan, Protection, matched_by_one, verdicts, wanted_tags


def make_untag_plan(selection: Selection, images: Sequence[ListedImage], now: float) -> Plan:
    """Plans which tags are removed: of each image that is meant, those that match one of the patterns.

    No image goes, so nothing that belongs to one is asked for; and a tag by which a signature belongs to an image is
    none that could be meant. The guards speak of each tag when it is its turn. The tags of one image go in one call, if
    they fit: an image that has lost some of them may not be meant any more.
    """
    existing = {image.digest for image in images}
    own = {image.digest: sorted(wanted_tags(image.tags, existing)) for image in images}
    alone = [image for image in images if own[image.digest] or not image.tags]
    kept = {image.digest: "NotMatched" for image in images if not own[image.digest]}
    levels: list[list[ListedImage]] = [[]]
    for image, reason in verdicts(selection, alone, Protection(lambda _: False), now):
        if reason:
            kept[image.digest] = reason
            continue
        each = [image._replace(tags=(tag,), size=0) for tag in own[image.digest]]
        matching = [one for one in each if matched_by_one(one, selection.tag_patterns)]
        if not matching:  # but for the tags by which it belongs to another image
            kept[image.digest] = "NotMatched"
        if len(levels[-1]) + len(matching) > CHUNK_SIZE:
            levels.append([])
        levels[-1] += matching
    return Plan([level for level in levels if level], kept, {}, frozenset(), of_tags=True)
