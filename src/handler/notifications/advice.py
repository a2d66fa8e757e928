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

type _Words = tuple[tuple[AbstractSet[str], str], ...]
"""Failure codes and what to do about them, from what asks the least of people: the first that covers all counts."""

_IN_GENERAL: _Words = (
    (_SPARED, _NOTHING_IF),
    (_SPARED | _LATER, _AGAIN),
    (_SPARED | _MOVED, "To do: see which image the tag names by now; if that is to go too, send a new request."),
    (_SPARED | _MOVED | _SENDER, "To do: correct whoever sent this; each failure below says what is wrong with it."),
    (_SPARED | _OTHERWISE, "To do: follow the reason of each failure below; the same request would fail again."),
)
_ELSE = "To do: remove the cause that stands below, and send the request again under a new requestId."
_WITH_RETRY: _Words = ((_SPARED | _LATER, "To do: try again later, with the retryRequest of this notice."),)
_ELSE_WITH_RETRY = "To do: see below what stood in the way; once it is removed, send the retryRequest of this notice."
_OF_SUMMARY: _Words = (  # where the failures themselves are elsewhere
    (_SPARED, _NOTHING_IF),
    (_SPARED | _LATER, _AGAIN),
    (_SPARED | {"StoppedByDryRun"}, "To do: send the request again once DryRun is off, under a new requestId."),
)
_ELSE_OF_SUMMARY = (
    "To do: see what failed in the repositories below; the log has it under the requestId, / and the repository."
)


def advice(data: Json) -> str:
    """Returns it for the data of any notice, as one line."""
    if data["type"] == "rejection":
        return "To do: correct the request as it says below, and send it as a new one."
    if data.get("unfinished"):
        return "To do: see why some requests have not ended: the queue, its dead letters and the log tell."
    if data.get("rejected"):
        return "To do: see why some requests were rejected; each ends in the dead-letter queue."
    if data["failed"] and "continuedAs" in data:
        return _GOES_ON
    if not data["failed"] or ("dryRun" in data and "TimedOut" not in data["failuresByCode"]):
        return NOTHING
    return _of_failures(data)


def needs_action(data: Json) -> bool:
    """Returns whether a person must do something about it."""
    return advice(data).startswith("To do")


def _of_failures(data: Json) -> str:
    codes = set(data["failuresByCode"])
    if sum(data["failuresByCode"].values()) < data["failed"]:
        codes.add("")  # nobody knows what the others are
    if data["type"] == "summary":
        return _first_that_covers(codes, _OF_SUMMARY, _ELSE_OF_SUMMARY)
    if "retryRequest" in data:
        return _first_that_covers(codes, _WITH_RETRY, _ELSE_WITH_RETRY)
    return _first_that_covers(codes, _IN_GENERAL, _ELSE)


def _first_that_covers(codes: AbstractSet[str], words: _Words, otherwise: str) -> str:
    return next((advised for covered, advised in words if codes <= covered), otherwise)
