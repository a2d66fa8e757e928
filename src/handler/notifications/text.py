"""The e-mail text of a report or a rejection.

Senders' words stand in it. Whatever is not printable in them is escaped, line breaks too, so that nobody can write a
line of ours, turn around what is read, or use a character that SNS refuses.
"""

import json
from collections.abc import Iterable

from handler.models.images import Json
from handler.models.report import TAG_WORDS, WORDS, Words

_ENTRIES_SHOWN = 50


def report_text(data: Json) -> str:
    """Returns the data of a report's notice as text."""
    origin, dry, words = data["origin"], "dryRun" in data, _words(data)
    done = words.done.capitalize()
    lines = [
        _headline(data),
        "",
        f"Repository:  {data['repositoryName']} in registry {data['registryId']}",
        f"Request:     {data['requestId']}",
        f"Arrived:     {origin['kind']} {origin['id']} from {origin['source']}",
        f"Sent by:     {origin['sender'] or '(not known)'}",
        f"Reason:      {data['reason'] or '(none given)'}",
        f"{done + ':':<13}{0 if dry else data[words.number]}",
    ]
    if "activatingCount" in data:
        lines += [f"Activating:  {data['activatingCount']}, relatives included; they can be pulled in up to 20 minutes"]
    if "unconfirmed" in data:
        lines += [f"Unconfirmed: {data['unconfirmed']} of these; {data['unconfirmedReason']}"]
    lines += _details(data, words)
    if data["failed"]:
        lines += ["", "Would be refused:" if dry else f"Not {words.done}:"]
        shown = data["failures"][:_ENTRIES_SHOWN]
        for failure in shown:
            lines += [f"  {_name(failure)}", f"      {failure['failureCode']}: {failure['failureReason']}"]
        if more := data["failed"] - len(shown):
            lines += [f"  and {more} more; the JSON form of this notice has up to {len(data['failures'])} of all."]
        elif "retryRequest" in data:
            lines += ["", "To try these again, send this request:", json.dumps(data["retryRequest"])]
    lines += _listed("Kept:", data.get("kept", []), data.get("keptOmitted", 0))
    if "restoreRequest" in data:
        until = f"They are deleted after {data['restorableUntil']}. " if "restorableUntil" in data else ""
        lines += ["", f"{until}To bring them back, send this request:", json.dumps(data["restoreRequest"])]
    images = [{"imageId": image_id} for image_id in data.get(words.images, [])]
    lines += _listed(f"Would be {words.done}:" if dry else f"{done}:", images, data.get(words.omitted, 0))
    return _text(lines)


def _details(data: Json, words: Words) -> list[str]:
    """Returns a line for each thing that is known of some reports alone."""
    dry, lines = "dryRun" in data, list[str]()
    if "keptByReason" in data:
        kept = ", ".join(f"{count} {reason}" for reason, count in sorted(data["keptByReason"].items()))
        lines += [f"Kept:        {kept or 'none'}"]
    if words.size in data:
        title = "Reclaimed:" if data["action"] == "delete" else "Size:"
        lines += [f"{title:<13}{data[words.size]:,} bytes at most"]
    if "replicatedTo" in data:
        there = ", ".join(f"{place['region']} (registry {place['registryId']})" for place in data["replicatedTo"])
        lines += [f"Replicated:  {'they would be deleted' if dry else 'ECR deletes them'} in {there} as well"]
    if "continuedAs" in data:
        lines += [f"Continues:   as {data['continuedAs']}, with a report of its own"]
    if "leftUntagged" in data:
        lines += [f"Left:        {data['leftUntagged']} images without tags, of those that belonged to the deleted"]
    return lines


def rejection_text(data: Json) -> str:
    """Returns the data of a rejection's notice as text."""
    origin = data["origin"]
    lines = ["A request was rejected. Nothing of it was carried out.", "", f"Why:         {data['error']}"]
    for title, member in (("Repository", "repositoryName"), ("Request", "requestId"), ("Reason", "reason")):
        if member in data:
            lines.append(f"{title + ':':<13}{data[member]}")
    lines += [
        f"Arrived:     {origin['kind']} {origin['id']} from {origin['source']}",
        f"Sent by:     {origin['sender'] or '(not known)'}",
        "",
        "A message stays on the queue until its last receive, then in the dead-letter queue, as it was sent. Sent back",
        "from there it is rejected again: correct what is wrong, send that as a new request, delete the dead letter.",
    ]
    return _text(lines)


def _text(lines: Iterable[str]) -> str:
    """Returns lines as one text, with whatever is not printable escaped."""
    return (
        "\n".join(
            line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
            for line in lines
        )
        + "\n"
    )


def _words(data: Json) -> Words:
    return TAG_WORDS if "untag" in data else WORDS[data["action"]]


def _headline(data: Json) -> str:
    words = _words(data)
    done, failed, requested = data[words.number], data["failed"], data["requested"]
    if failed > requested:
        return f"Nothing could be selected, and this try {words.done} nothing."
    if "dryRun" in data:
        return f"A dry run: nothing was {words.done}. {done} of {requested} {words.things} would have been."
    if failed:
        return f"{failed} of {requested} {words.things} could not be {words.done}."
    return f"{done} of {requested} {words.things} were {words.done}."


def _listed(title: str, entries: list[Json], omitted: int) -> list[str]:
    if not entries:
        return []
    shown = entries[:_ENTRIES_SHOWN]
    lines = ["", title]
    lines += [f"  {_name(entry)}" + (f": {entry['reason']}" if "reason" in entry else "") for entry in shown]
    return [*lines, f"  and {more} more"] if (more := len(entries) - len(shown) + omitted) else lines


def _name(entry: Json) -> str:
    """Returns an id as the CLI writes it. Without any, a failure is of the whole request, unless it is about that."""
    whole = "(no tag, no digest)" if entry.get("failureCode") == "MissingDigestAndTag" else "(the whole request)"
    return ",".join(f"{key}={value}" for key, value in entry["imageId"].items()) or whole
