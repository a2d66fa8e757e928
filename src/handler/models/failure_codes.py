"""Failure codes by what follows from them. Any other code is a failure that is reported, and offered for a retry.

Most are ECR's own; `guards` has those of the guards, and `registry` and `workflows` the remaining ones.
"""

TRANSIENT = frozenset({"KmsError", "UpstreamTooManyRequests", "UpstreamUnavailable"})
"""ECR cannot delete the image at the moment: it is asked again within the request."""

CANNOT_CHANGE = "ImageStorageClassUpdateNotSupportedException"
"""ECR does not archive or restore the image as it is now."""

ARCHIVED_INDEX = "ArchivedIndex"
"""What the index names cannot be known while it is in the archive."""

BLOCKED = frozenset({"ImageReferencedByManifestList", "StillTagged", "StillUsed", CANNOT_CHANGE})
"""May pass once another image is gone: it is asked again after a pass that deleted something."""

RESTORED_IN_PART = "RestoredInPart"
"""The index has left the archive, and what it names may not have: a further turn of a selection does not meet it."""

UNFINISHED = frozenset({"Unfinished"})
"""Its turn did not come in a step that has done others: it is asked again in any case."""

KEPT = (BLOCKED - {CANNOT_CHANGE}) | {"ImageInUse", "ProtectedTag"}
"""No failure of a relative: it is kept on purpose, and reported as kept."""

ACCOUNTED_FOR = frozenset({"ImageNotFound", "LeftUntagged"})
"""No failure of a relative either: it is counted, or was deleted along with another image."""

KEPT_REASONS = {
    "ImageInUse": "InUse",
    "ImageNotFound": "AlreadyGone",
    "ImageReferencedByManifestList": "StillUsed",
    "ImageTagDoesNotMatchDigest": "TaggedSince",
    "LastTag": "LastTag",
    "ProtectedTag": "ProtectedTag",
    "StorageClassChanged": "StorageClassChanged",
    "TaggedSince": "TaggedSince",
}
"""No failure of a selected image, for the plan was made a moment ago: the reason for which it counts as kept."""

RETRY_IS_NO_HELP = frozenset({
    ARCHIVED_INDEX,
    "ImageInUse",
    "ImageNotFound",
    "ImageTagDoesNotMatchDigest",
    "ImageTagPushedAgain",
    "InvalidImageDigest",
    "InvalidImageTag",
    "LastTag",
    "MissingDigestAndTag",
    "ProtectedRepository",
    "ProtectedTag",
    "RepositoryNotFoundException",
    "TagRequired",
    "TooManyRelatives",
    "UnreadableIndex",
})  # fmt: skip
"""The same request would meet it again, or it spared an image on purpose: no retryRequest has it."""


RETRY_WHOLE = frozenset({"TimedOut", "UsageUnknown"})
"""Of a selection as a whole: nothing was selected, and the same selection may be once something else has changed."""


def leaves_relatives_unknown(code: str) -> bool:
    """Returns whether what belongs to an image cannot be known, so that whatever it belongs to must stay.

    Any other code is about the image alone. That of a call that ECR refused as a whole ends in Exception.
    """
    return code in {ARCHIVED_INDEX, "TooManyRelatives", "UnreadableIndex"} or code.endswith("Exception")
