"""The limits of AWS's services, and how to stay within them."""

import bisect
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

CHUNK_SIZE = 100
"""Image ids that ECR takes in one call."""
STORED_BYTES = 350_000
"""The most that the outcome of one step may take: DynamoDB's limit is 400 KB an item."""
ANSWER_BYTES = 6_000_000
"""The longest answer of the function: Lambda's limit is 6,291,556 bytes for a synchronous response."""
MESSAGE_BYTES = 262_144
"""The most that SNS takes in one message, its attributes included."""
EVENT_BYTES = 256_000
"""The most that a result event takes. PutEvents takes 1 MB by now, but an event that is too large for a target is lost
behind the bus; and SNS and Step Functions take 256 KiB, with the envelope."""
MAX_TURNS = 100
"""How many messages may continue a selection. Each has done something, and the largest repository has 100,000 images,
which take 1,000 calls to be deleted: what gets this far meets something that no further turn will cure. Only to be
archived, with a call for each, do so many images take more turns, of 15 minutes, at more than some 4 seconds a call."""
KEY_CHARACTERS = 256
"""The longest requestId."""
_MEASURED_AT_A_TIME = 1_000


def json_bytes(value: Mapping[str, Any]) -> int:
    """Returns how long an object is as JSON, in ASCII; in parts, for all of it would be megabytes more."""
    lists = {key: entries for key, entries in value.items() if isinstance(entries, list)}
    parts = [part for entries in lists.values() for part in _parts(entries)]
    return len(json.dumps({**value, **{key: [] for key in lists}})) + sum(parts)


def _parts(entries: Sequence[Any]) -> Iterator[int]:
    """Yields the bytes of some entries at a time, with the separator before them but for the first."""
    for number, part in enumerate(itertools.batched(entries, _MEASURED_AT_A_TIME, strict=False)):
        yield len(json.dumps(part)) - len("[]") + (len(", ") if number else 0)


def truncate_to_fit[T](build: Callable[[int], T], count: int, size: Callable[[T], int], limit: int) -> T:
    """Returns build(n) for the largest n up to `count` whose size is within `limit`; build(0) if none is."""
    whole = build(count)
    if size(whole) <= limit:
        return whole
    return build(bisect.bisect_right(range(1, count), limit, key=lambda n: size(build(n))))
