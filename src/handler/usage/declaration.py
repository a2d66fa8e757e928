"""Declared use: what a source that this stack does not read itself says to be in use."""

import time
from datetime import datetime
from typing import Any, NamedTuple

from handler.models.errors import RejectedRequestError

from .images import Use, parse_address
from .settings import READ_SOURCES

_KEY = "imagesInUse"
_LONGEST_DAYS = 31
_DAY = 24 * 60 * 60


class Declaration(NamedTuple):
    """What a source says to be in use."""

    source: str
    uses: tuple[Use, ...]
    expires: float
    """Until when it says so, in seconds since the epoch."""
    elsewhere: int
    """Images that are in no ECR registry: nothing here can delete them."""
    unreadable: tuple[str, ...]
    """Addresses in ECR registries that name no image there, so that nobody can run it."""


def parse_declaration(content: dict[str, Any], admitted: tuple[str, ...]) -> Declaration:
    """Returns a declaration of one of the admitted sources; raises RejectedRequestError, saying what to change."""
    source, addresses = content.get("source"), content[_KEY]
    if source not in admitted or source in READ_SOURCES:
        names = ", ".join(admitted) or "none"
        raise RejectedRequestError(
            f"source {str(source)[:100]!r} may not declare images in use; the stack's UsageSources lists those that "
            f"may, now {names}, and its ProtectInUse must list declared"
        )
    if unknown := content.keys() - {"source", _KEY, "expiresAt"}:
        raise RejectedRequestError(
            f"a declaration has no member {min(unknown)[:100]!r}; it has source, {_KEY} and expiresAt"
        )
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        raise RejectedRequestError(
            f"{_KEY} must be a list of image addresses, such as <registry>/<repository>@<digest>"
        )
    images = {address: parse_address(address) for address in addresses}
    uses = tuple(Use(image, source) for image in images.values() if image)
    unreadable = tuple(a for a, image in images.items() if image is None and ".dkr" in a.partition("/")[0])
    elsewhere = len(images) - len(uses) - len(unreadable)
    return Declaration(source, uses, _expiry(content.get("expiresAt")), elsewhere, unreadable)


def _expiry(text: Any) -> float:
    try:
        time_ = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise RejectedRequestError("expiresAt must be a time in ISO 8601, such as 2026-11-26T05:00:00Z") from error
    if time_.tzinfo is None:
        raise RejectedRequestError("expiresAt must say its time zone, such as 2026-11-26T05:00:00Z")
    seconds = time_.timestamp()
    if seconds > time.time() + _LONGEST_DAYS * _DAY:
        raise RejectedRequestError(
            f"expiresAt {text} is more than {_LONGEST_DAYS} days ahead; declare often, and for as long as it may take "
            "to notice that the declarations have stopped"
        )
    return seconds
