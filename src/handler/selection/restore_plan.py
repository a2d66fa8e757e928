"""Which archived images a selection brings back, in the order in which they can be pulled again."""

from collections.abc import Collection, Mapping, Sequence

from handler.models.images import ListedImage
from handler.models.request import Selection

from .plan import Plan, Protection, parents_first, parents_of, verdicts


def make_restore_plan(
    selection: Selection,
    images: Sequence[ListedImage],
    named: Mapping[str, Sequence[str] | None],
    now: float,
    only: Collection[str] | None,
) -> Plan:
    """Plans which images are restored: those that are meant, and what belongs to them; no guard keeps any.

    What an index names comes before it, and so do signatures: whoever verifies an image needs them when it is pulled.
    Only what is in the archive counts: what belongs to an image that is not, is judged by itself.
    """
    protection = Protection(lambda _: False, only=only)
    archived = [image for image in images if image.status == "ARCHIVED"]
    existing = {image.digest for image in archived}
    within = {index: digests for index, digests in named.items() if index in existing}
    parents, untagged = parents_of(archived, within)

    def goes_along(digest: str) -> bool:
        """Returns whether an image comes with what it belongs to, or not at all."""
        owners = parents.get(digest, ())
        return digest in untagged and bool(owners if only is None else set(owners).intersection(only))

    alone = [image for image in archived if not goes_along(image.digest)]
    kept = dict.fromkeys((image.digest for image in images if image.digest not in existing), "NotMatched")
    reasons = {image.digest: reason for image, reason in verdicts(selection, alone, protection, now)}
    level_of: dict[str, int] = {}
    for image in parents_first(archived, parents):
        above = [level_of[parent] for parent in parents.get(image.digest, ()) if parent in level_of]
        if above or (image.digest in reasons and reasons[image.digest] is None):
            level_of[image.digest] = max(above, default=-1) + 1
        else:
            kept[image.digest] = reasons.get(image.digest) or "NotMatched"
    levels: list[list[ListedImage]] = [[] for _ in range(max(level_of.values(), default=-1) + 1)]
    for image in archived:
        if image.digest in level_of:
            levels[level_of[image.digest]].append(image)
        else:
            kept.setdefault(image.digest, "NotMatched")
    return Plan(levels[::-1], kept, {}, frozenset())
