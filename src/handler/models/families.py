"""What belongs to images, as a step stores it that looked for it."""

from typing import Any, NamedTuple, Self

from .images import ImageFailure, Json
from .outcomes import failures_of, flat


class Family(NamedTuple):
    """One image, and the images that belong to it."""

    digest: str
    subject: str | None
    """The digest of what it refers to, if it is a signature or the like."""
    relatives: tuple[str, ...]
    """The digests of what it names, if it is an index, and of what has it as its subject."""


class FoundFamilies(NamedTuple):
    """The families of the first images of those that were looked for; a further step looks for the others."""

    families: tuple[Family | ImageFailure | None, ...]
    """In the order asked; None for an image that is not there, a failure where its relatives cannot be known."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        digests = [*value["digests"], None]

        def family(entry: list[Any] | None) -> Family | ImageFailure | None:
            match entry:
                case None:
                    return None
                case [int(digest), int(subject), *relatives]:
                    return Family(digests[digest], digests[subject], tuple(digests[n] for n in relatives))
            return failures_of([entry])[0]

        return cls(tuple(map(family, value["families"])))

    def to_json(self) -> Json:
        """Each digest stands once, for many indexes may share their images; -1 is none."""
        numbers: dict[str, int] = {}

        def number(digest: str | None) -> int:
            return -1 if digest is None else numbers.setdefault(digest, len(numbers))

        families = [
            [number(f.digest), number(f.subject), *map(number, f.relatives)] if isinstance(f, Family) else f and flat(f)
            for f in self.families
        ]
        return {"families": families, "digests": list(numbers)}
