"""What a person must do about a notice, if anything: its first line."""

from collections.abc import Set as AbstractSet

from handler.models.images import Json

_LATER = frozenset({"RestoredInPart", "UpstreamTooManyRequests", "UpstreamUnavailable"})
_SENDER = frozenset({
    *("InvalidImageDigest", "InvalidImageTag", "MissingDigestAndTag", "RepositoryNotFoundException"),
    *("LastTag", "TagRequired"),
})  # fmt: skip
_OTHERWISE = frozenset({"ArchivedIndex", "TooManyRelatives", "UnreadableIndex"})
_SPARED = frozenset({"ImageInUse", "ImageNotFound", "ProtectedRepository", "ProtectedTag"})
_MOVED = frozenset({"ImageTagDoesNotMatchDigest", "ImageTagPushedAgain"})

NOTHING = "Nothing to do."
_NOTHING_IF = "Nothing to do, if it may stay like that: what is protected, in use or not there was left alone."
_GOES_ON = "Nothing to do yet: it goes on in another turn, which tries these again and reports what is left."
_AGAIN = "To do: send the request again later, under a new requestId."
_OF_CODES = (
    (_SPARED, _NOTHING_IF),
    (_SPARED | _LATER, _AGAIN),
    (_SPARED | _MOVED, "To do: see which image the tag names by now; if that is to go too, send a new request."),
    (_SPARED | _MOVED | _SENDER, "To do: correct whoever sent this; each failure below says what is wrong with it."),
    (_SPARED | _OTHERWISE, "To do: follow the reason of each failure below; the same request would fail again."),
)
"""From what asks the least of people: the first that covers all failures counts."""
_REMOVE_CAUSE = "To do: remove the cause that stands below, and send the request again under a new requestId."


def advice(data: Json) -> str:
    """Returns it for the data of any notice, as one line."""
    if data["type"] == "rejection":
        return "To do: correct the request as it says below, and send it as a new one."
    if data.get("unfinished"):
        return "To do: see why some requests have not ended: the queue, its dead letters and the log tell."
    if data.get("rejected"):
        return "To do: see why some requests were rejected; each is in the dead-letter queue within the hour."
    if "dryRun" in data or not data["failed"] or "continuedAs" in data:
        return _GOES_ON if data["failed"] and "continuedAs" in data else NOTHING
    codes = set(data["failuresByCode"])
    if sum(data["failuresByCode"].values()) < data["failed"]:
        codes.add("")  # nobody knows what the others are
    if data["type"] == "summary":
        return _of_summary(codes)
    return _retry(codes) if "retryRequest" in data else _first_that_covers(codes)


def needs_action(data: Json) -> bool:
    """Returns whether a person must do something about it."""
    return advice(data).startswith("To do")


def _of_summary(codes: AbstractSet[str]) -> str:
    """Returns it where the failures themselves are elsewhere."""
    if codes <= _SPARED | _LATER:
        return _NOTHING_IF if codes <= _SPARED else _AGAIN
    if codes <= _SPARED | {"StoppedByDryRun"}:
        return "To do: send the request again once DryRun is off, under a new requestId."
    return "To do: see what failed in the repositories below; the log has it under the requestId, / and the repository."


def _retry(codes: AbstractSet[str]) -> str:
    if codes - _SPARED <= _LATER:
        return "To do: try again later, with the retryRequest of this notice."
    return "To do: see below what stood in the way; once it is removed, send the retryRequest of this notice."


def _first_that_covers(codes: AbstractSet[str]) -> str:
    return next((words for covered, words in _OF_CODES if codes <= covered), _REMOVE_CAUSE)
