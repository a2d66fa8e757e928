"""A message that declares which images are in use, instead of asking for a deletion."""

import time
from typing import TYPE_CHECKING, Any

from handler.bootstrap import Invocation, Services
from handler.models.report import DeclarationReport
from handler.models.request import Payload, quoted
from handler.usage.declaration import parse_declaration
from handler.usage.inventory import Inventory

if TYPE_CHECKING:
    from logging import LoggerAdapter

_DAY = 24 * 60 * 60
_ADDRESSES_SHOWN = 5


def record(
    payload: Payload, services: Services, invocation: Invocation, log: "LoggerAdapter[Any]"
) -> DeclarationReport:
    """Remembers what a source declares to be in use, and then that it has declared: half a declaration is none.

    To do so twice changes nothing, and one that comes too late is remembered without being believed. Raises
    RejectedRequestError for a declaration that can never be recorded, and what DynamoDB raises; a redelivery records it
    then.
    """
    settings, now = services.settings, time.time()
    declared = parse_declaration(payload.content, settings.usage_sources)
    inventory = Inventory(services.dynamodb, settings.usage_table)
    expires = max(declared.expires, now + settings.in_use_days * _DAY)
    inventory.add(declared.source, declared.uses, seen=now, expires=expires, run_all=invocation.pool.run)
    inventory.believe_declaration(declared.source, declared=now, expires=declared.expires)
    report = DeclarationReport(declared.source, len(declared.uses), declared.elsewhere, len(declared.unreadable))
    log.info("use declared", extra={"source": report.source, "images": report.images, "elsewhere": report.elsewhere})
    if declared.unreadable:
        shown = [quoted(address) for address in declared.unreadable[:_ADDRESSES_SHOWN]]
        log.warning("images not understood", extra={"source": report.source, "addresses": shown})
    if declared.expires <= now:
        log.warning("declared too late", extra={"source": report.source, "late_seconds": now - declared.expires})
    return report
