"""An instance of a function, in a process that finds its package alone, as in Lambda.

`python -S -m benchmarks.fleet.instance NAME TIMEOUT NICENESS` takes an event a line, as JSON, and answers each with a
line: the seconds that it took, and what the function returned or the error that it raised. The first line is for the
start. What the function logs goes to standard error.
"""

import json
import os
import sys
import time
from typing import Any


def main() -> None:
    """Takes events until there are no more."""
    name, timeout, niceness = sys.argv[1:]
    os.nice(int(niceness))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(start: float, **members: Any) -> None:
        answers.write(json.dumps({"seconds": time.perf_counter() - start, **members}) + "\n")
        answers.flush()

    start = time.perf_counter()
    from handler.app import lambda_handler  # noqa: PLC0415  # a part of the start
    from local.runtime import FakeLambdaContext  # noqa: PLC0415

    answer(start)
    for line in sys.stdin:
        context: Any = FakeLambdaContext(function_name=name, timeout=float(timeout))
        start = time.perf_counter()
        try:
            returned = lambda_handler(json.loads(line), context)
        except Exception as error:  # noqa: BLE001  # which Lambda would report as this one does
            answer(start, error=repr(error))
        else:
            answer(start, returned=returned)


if __name__ == "__main__":
    main()
