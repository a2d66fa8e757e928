"""Asks for known vulnerabilities of what ships; where nobody can be asked, says so in a line and fails nothing."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / ".venv-supply" / "bin" / "pip-audit"
SECONDS = 120
"""As long as it may ask."""


def verdict(output: str) -> tuple[int, str]:
    """Returns an exit status and what to say, from pip-audit's JSON."""
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, "pip-audit: skipped, for advisories cannot be asked for from here"
    found = [
        f"{dependency['name']} {dependency['version']}: {advisory['id']}, fixed in {advisory['fix_versions']}"
        for dependency in dependencies
        for advisory in dependency.get("vulns", [])
    ]
    unknown = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    if found:
        return 1, "pip-audit: " + "\n  ".join(found)
    if unknown:
        return 0, f"pip-audit: skipped, for the index that is reached here has no advisories ({len(unknown)} packages)"
    return 0, f"pip-audit: no known vulnerability in {len(dependencies)} packages"


def main() -> int:
    """Prints one line, or one for each vulnerability."""
    requirements = ROOT / "src" / "requirements.txt"
    options = ["--require-hashes", "--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json"]
    try:
        run = subprocess.run(  # noqa: S603  # a program of our own, with arguments of our own
            [PROGRAM, "--requirement", requirements, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        output = run.stdout
    except subprocess.TimeoutExpired:
        output = ""
    status, text = verdict(output)
    print(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
