"""The e-mail text of a report or a rejection.

Senders' words stand in it. Whatever is not printable in them is escaped, line breaks too, so that nobody can write a
line of ours, turn around what is read, or use a character that SNS refuses.
"""

import json
from collections.abc import Iterable, Mapping

from handler.models.images import Json
from handler.models.report import TAG_WORDS, WORDS, Words

from .advice import advice

_ENTRIES_SHOWN = 50


def report_text(data: Json) -> str:
    """Returns the data of a report's notice as text."""
    dry, words = "dryRun" in data, words_of(data)
    done = words.done.capitalize()
    lines = [
        advice(data),
        "",
        headline(data),
        "",
        f"Repository:  {data['repositoryName']} in registry {data['registryId']}",
        *request_lines(data),
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
            lines += [f"  {name_of(failure)}", f"      {failure['failureCode']}: {failure['failureReason']}"]
        if more := data["failed"] - len(shown):
            more_of_it = ", and the request that tries them again" if "retryRequest" in data else ""
            lines += [
                f"  and {more} more; the JSON form of this notice has up to {len(data['failures'])} of all{more_of_it}."
            ]
        elif "retryRequest" in data:
            lines += ["", "To try these again, send this request (retryRequest):", json.dumps(data["retryRequest"])]
    lines += _listed("Kept:", data.get("kept", []), data.get("keptOmitted", 0))
    if "restoreRequest" in data:
        until = f"They are deleted after {data['restorableUntil']}. " if "restorableUntil" in data else ""
        lines += ["", f"{until}To bring them back, send this request:", json.dumps(data["restoreRequest"])]
    images = [{"imageId": image_id} for image_id in data.get(words.images, [])]
    lines += _listed(f"Would be {words.done}:" if dry else f"{done}:", images, data.get(words.omitted, 0))
    return joined(lines)


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
        belonged = "of those that belonged to the deleted"
        lines += [f"Left:        {data['leftUntagged']} images without a tag of their own, {belonged}"]
    return lines


def rejection_text(data: Json) -> str:
    """Returns the data of a rejection's notice as text."""
    origin = data["origin"]
    lines = [advice(data), "", headline(data), "", f"Why:         {data['error']}"]
    for title, member in (("Repository", "repositoryName"), ("Request", "requestId"), ("Reason", "reason")):
        if member in data:
            lines.append(f"{title + ':':<13}{data[member]}")
    lines += [
        f"Arrived:     {origin['kind']} {origin['id']} from {origin['source']}",
        f"Sent by:     {origin['sender'] or '(not known)'}",
        "",
        "A message stays on the queue until its last receive, then in the dead-letter queue. Sent back from there,",
        "it is judged anew, and is carried out if the stack admits it by then. Correct what is wrong, send that as a",
        "new request, and delete the dead letter.",
    ]
    return joined(lines)


def printable(line: str) -> str:
    """Returns a line with whatever is not printable escaped."""
    return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def joined(lines: Iterable[str]) -> str:
    """Returns lines as one text, with whatever is not printable in them escaped."""
    return "\n".join(map(printable, lines)) + "\n"


def words_of(data: Json) -> Words:
    """Returns what the results of a notice are called."""
    return TAG_WORDS if "untag" in data else WORDS[data["action"]]


def codes_text(codes: Mapping[str, int]) -> str:
    """Returns how many failures have each code."""
    return ", ".join(f"{count:,} {code}" for code, count in codes.items())


def request_lines(data: Json) -> list[str]:
    """Returns the lines that say which request it was, and whose."""
    origin = data["origin"]
    return [
        f"Request:     {data['requestId']}",
        f"Arrived:     {origin['kind']} {origin['id']} from {origin['source']}",
        f"Sent by:     {origin['sender'] or '(not known)'}",
        f"Reason:      {data['reason'] or '(none given)'}",
    ]


def headline(data: Json) -> str:
    """Returns what became of a request, in a sentence or two."""
    if data["type"] == "rejection":
        return "A request was rejected. Nothing of it was carried out."
    words = words_of(data)
    if data["type"] == "summary":
        would = "would have been" if "dryRun" in data else "were"
        of = f" of {data['requested']:,} {words.things}"
        done = [f"{data[each.number]:,}{of} {would} {each.done}" for each in done_words(data)]
        return f"{data['finished']:,} of {data['repositories']:,} repositories are done: {' and '.join(done)}."
    done, failed, requested = data[words.number], data["failed"], data["requested"]
    if failed > requested:
        return f"Nothing could be selected, and this try {words.done} nothing."
    if "dryRun" in data:
        return f"A dry run: nothing was {words.done}. {count_of(done, requested, words.things)} would have been."
    if failed:
        return f"{count_of(failed, requested, words.things)} could not be {words.done}."
    return f"{count_of(done, requested, words.things)} {'was' if done == requested == 1 else 'were'} {words.done}."


def done_words(data: Json) -> list[Words]:
    """Returns the words for what a summary counts as done: with a grace period, that is not only what was asked for."""
    own = words_of(data)
    others = [words for words in WORDS.values() if words.number != own.number and data.get(words.number)]
    return [own, *others] if data[own.number] or not others else others


def count_of(count: int, total: int, things: str) -> str:
    """Returns how many of how many, as people say it: things is a plural in s."""
    return f"1 {things[:-1]}" if count == total == 1 else f"{count:,} of {total:,} {things}"


def _listed(title: str, entries: list[Json], omitted: int) -> list[str]:
    return named(title, [name_of(e) + (f": {e['reason']}" if "reason" in e else "") for e in entries], omitted)


def named(title: str, items: list[str], omitted: int) -> list[str]:
    """Returns a list under a title, cut to the first, with a count of the others."""
    if not items:
        return []
    lines = ["", title, *(f"  {item}" for item in items[:_ENTRIES_SHOWN])]
    return [*lines, f"  and {more} more"] if (more := max(0, len(items) - _ENTRIES_SHOWN) + omitted) else lines


def name_of(entry: Json) -> str:
    """Returns an id as the CLI writes it. Without any, a failure is of the whole request, unless it is about that."""
    whole = "(no tag, no digest)" if entry.get("failureCode") == "MissingDigestAndTag" else "(the whole request)"
    return ",".join(f"{key}={value}" for key, value in entry["imageId"].items()) or whole
