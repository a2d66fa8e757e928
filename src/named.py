"""What `typing.NamedTuple` makes of a class, written down: to have it made takes 0.15 ms of a start for each.

The build copies this into the package, and writes the classes there so that they use it: see slim.py.
"""

from _collections import _tuplegetter as field  # type: ignore[import-not-found]  # what namedtuple itself takes
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

new = tuple.__new__
__all__ = ["Named", "field", "new"]


class Named(tuple[Any, ...]):
    """The base of a class whose fields, defaults and `__new__` are written down."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]]
    _field_defaults: ClassVar[Mapping[str, Any]]

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        return new(cls, values)

    def _replace(self, /, **changes: Any) -> Self:
        made = self._make(map(changes.pop, self._fields, self))
        if changes:
            raise TypeError(f"Got unexpected field names: {list(changes)!r}")
        return made

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({values})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)
