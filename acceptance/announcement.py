"""What a run says to the person who has started it: before anything is made, and at the end."""

from collections import Counter
from collections.abc import Mapping

from .names import MARK, TAG, Run
from .options import Options
from .stack import Stack

REPOSITORIES = 110
IMAGES = 500
"""The most that a run makes; a test counts what it makes."""


def text(options: Options, stack: Stack, run: Run, endpoint: str) -> str:
    """Returns what is about to happen, where, and what it costs."""
    replicated = f", and in {options.replicate_to}" if options.replicate_to else ""
    size = f"{REPOSITORIES} repositories under {run.repository('')}{replicated}, with {IMAGES} images of a kilobyte"
    cents = 20 if options.slow else 10
    minutes = "up to two hours, most of it waiting" if options.slow else "about ten minutes"
    return "\n".join([
        f"Stack {stack.name} in account {stack.account}, region {stack.region}"
        + (f", at {endpoint}" if endpoint else ""),
        f"Run {run.id} takes {minutes}.",
        "",
        f"It makes at most {size},",
        f"and queues, a rule, schedules, functions and roles that are called {MARK}{run.id}-…",
        f"All of it has the tag {TAG}={run.tag_value}, and is removed at the end.",
        f"It costs less than {cents} cents. Whoever is subscribed to the stack's topic gets some 50 notices.",
        "Ctrl-C stops it, and removes what it has made.",
        "",
    ])  # fmt: skip


def counts(outcomes: Mapping[str, str]) -> str:
    """Returns how many checks passed, failed and were skipped."""
    number = Counter(outcome.partition(":")[0] for outcome in outcomes.values())
    return f"{number['passed']} passed, {number['failed']} failed, {number['skipped']} skipped"


def summary(outcomes: Mapping[str, str], left: int, options: Options, run: Run) -> str:
    """Returns what came of it."""
    lines = ["", counts(outcomes)]
    if left:
        lines.append(
            f"{left} things could not be removed: make acceptance-clean STACK={options.stack} PREFIX={options.prefix} "
            f"RUN={run.id}"
        )
    return "\n".join(lines)
