"""How a source is read: in units that each take some calls, so that a further turn can go on behind the last one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from handler.models.errors import HandlerError, ServiceUnavailableError

from .images import Use

CLOCK_SECONDS = 300
"""How far ahead another clock may be. What began later than that says nothing of its age."""


class ReadingFailedError(HandlerError):
    """A source could not be read whole; what was read of it is remembered, and it is read anew."""


class Unit(NamedTuple):
    """A part of a source that is read in one go."""

    name: str
    """By which the units of a source are ordered, and which says where a further turn goes on."""
    read: Callable[[], Iterable[Use]]


type ListUnits = Callable[[], list[Unit]]
"""Returns the units of a source; those that come later while it is read may be missing."""


def member(answer: Mapping[str, Any], name: str) -> Any:
    """Returns a member that AWS always sends; an answer without it was cut short on its way, and botocore reads it.

    Raises ServiceUnavailableError: what is missing could be in use.
    """
    if name not in answer:
        raise ServiceUnavailableError(f"an answer without {name} did not arrive whole")
    return answer[name]


def listed(client: Any, operation: str, name: str, *, page: int, **arguments: Any) -> Iterator[Any]:
    """Yields what all pages of a list have as this member. Raises ServiceUnavailableError."""
    settings = {"PageSize": page}
    for answer in client.get_paginator(operation).paginate(**arguments, PaginationConfig=settings):
        yield from member(answer, name)
