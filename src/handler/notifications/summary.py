"""The notice of a request for several repositories: one for all of them."""

import json

from handler.models.images import Json
from handler.models.limits import MESSAGE_BYTES, truncate_to_fit
from handler.models.summary import SummaryReport

from .advice import advice
from .data import summary_data
from .notices import Notice, failure_codes, notice, string
from .text import codes_text, done_words, headline, joined, named, request_lines


def summary_notice(
    report: SummaryReport, registry_id: str, limit: int = MESSAGE_BYTES, *, chat: bool = False
) -> Notice:
    """Sums up what became of each repository; what `limit` bytes cannot hold is counted."""
    counts = report.outcome.counts
    troubles = [f"{counts[name]:,} {name}" for name in ("rejected", "unfinished") if counts[name]]
    troubles += [_number(counts["failed"], "failure", "failures")] if counts["failed"] else []
    dry = "dry run: " if report.request.dry_run else ""
    subject = f"{dry}{_number(counts['repositories'], 'repository', 'repositories')}"
    subject += f", {', '.join(troubles) or 'no failures'}"
    attributes = {"type": string("summary"), **failure_codes(counts["failuresByCode"])}

    def first(count: int) -> Notice:
        data = summary_data(report, registry_id, count)
        return notice(subject, data, summary_text(data), attributes, chat=chat)

    return truncate_to_fit(first, report.outcome.entries, lambda notice: notice.size, limit)


def _number(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def summary_text(data: Json) -> str:
    """Returns the data of a summary as text."""
    lines = [
        advice(data),
        "",
        headline(data),
        "",
        f"Asked for:   {', '.join(data['repositoryNames'])} in registry {data['registryId']}",
        *request_lines(data),
        f"Finished:    {data['finished']:,} of {data['repositories']:,} repositories",
        *_done(data),
        f"Failed:      {codes_text(data['failuresByCode']) or 'none'}",
    ]
    rejected = [f"{entry['repositoryName']}: {entry['error']}" for entry in data["rejectedRepositories"]]
    failed = [f"{e['repositoryName']}: {codes_text(e['failuresByCode'])}" for e in data["failedRepositories"]]
    for title, key, items in (
        ("Rejected:", "rejectedRepositories", rejected),
        ("Not finished:", "unfinishedRepositories", data["unfinishedRepositories"]),
        ("With failures:", "failedRepositories", failed),
    ):
        lines += named(title, items, data.get(f"{key}Omitted", 0))
    if data.get("archivedCount") and "dryRun" not in data:
        selection = {"tagStatus": "any", "storageClass": "archive", "archivedBy": f"{data['requestId']}/REPOSITORY"}
        request = {"repositoryName": "REPOSITORY", "action": "restore", "selection": selection}
        lines += ["", "To bring them back, send this request for each REPOSITORY:", json.dumps(request)]
    if data["unfinished"]:
        lines += ["", "Of those that are not finished, each will tell by itself what fails from now on."]
    return joined(lines)


def _done(data: Json) -> list[str]:
    """Returns what was done, which may be more than one thing: a grace period archives what was to be deleted."""
    dry, lines = "dryRun" in data, list[str]()
    for words in done_words(data):
        title = f"{words.done.capitalize()}:"
        lines.append(f"{title:<13}{0 if dry else data[words.number]:,} of {data['requested']:,} {words.things}")
    return [*lines, f"Size:        {data['bytes']:,} bytes at most"] if data["bytes"] else lines
