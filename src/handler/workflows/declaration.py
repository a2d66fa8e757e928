"""A message that declares which images are in use, instead of asking for a deletion."""

import time
from collections.abc import Callable, Iterable
from functools import partial
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


def _in_time(task: Callable[[], None], invocation: Invocation) -> None:
    """Carries out a task of a call or two. Raises OutOfTimeError: a redelivery need not write again what is written."""
    with invocation.deadline.calling():
        task()


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

    def run_all(tasks: Iterable[Callable[[], None]]) -> None:
        invocation.pool.run(partial(_in_time, task, invocation) for task in tasks)

    inventory.add(declared.source, declared.uses, seen=now, expires=expires, run_all=run_all)
    # In the order in which they were sent: one that comes late says what was so before.
    inventory.believe(declared.source, began=min(now, payload.sent or now), expires=declared.expires)
    report = DeclarationReport(declared.source, len(declared.uses), declared.elsewhere, len(declared.unreadable))
    log.info("use declared", extra={"source": report.source, "images": report.images, "elsewhere": report.elsewhere})
    if declared.unreadable:
        shown = [quoted(address) for address in declared.unreadable[:_ADDRESSES_SHOWN]]
        log.warning("images not understood", extra={"source": report.source, "addresses": shown})
    if declared.expires <= now:
        log.warning("declared too late", extra={"source": report.source, "late_seconds": now - declared.expires})
    return report
