"""How a source is read: in units that each take some calls, so that a further turn can go on behind the last one."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .images import Use


class Unit(NamedTuple):
    """A part of a source that is read in one go."""

    name: str
    """By which the units of a source are ordered, and which says where a further turn goes on."""
    read: Callable[[], Iterable[Use]]


type ListUnits = Callable[[], list[Unit]]
"""Returns the units of a source; those that come later while it is read may be missing."""
