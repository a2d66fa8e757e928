"""Before anything is made: which prefixes, stacks and repositories a run refuses."""

import pytest

from acceptance import safety
from acceptance.names import Run

RUN = Run("stack", "acceptance/", "0123abcd")


@pytest.mark.parametrize("prefix", ["acceptance/", "a-", "team/acceptance/", "team_1.acceptance-"])
def test_a_prefix_that_names_can_begin_with(prefix: str) -> None:
    """It ends where a name has a part, so that it means no other repository by chance."""
    safety.check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", "/", "acceptance", "Acceptance/", "*", "a b/", "a//", "../"])
def test_a_prefix_that_is_refused(prefix: str) -> None:
    """One that is empty would mean every repository."""
    with pytest.raises(safety.UnsafeError, match="PREFIX must be the beginning"):
        safety.check_prefix(prefix)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"RepositoryPattern": "team/*"}, "Deploy a stack with RepositoryPattern=acceptance/"),
        ({"RepositoryPattern": "acceptance"}, "does not admit"),
        ({"RepositoryPattern": "acceptance/?"}, "does not admit"),
        ({"RepositoryPattern": "*", "ProtectedRepositories": "team/*,acceptance/*"}, "protects what begins with"),
        ({"RepositoryPattern": "*", "DryRun": "true"}, "DryRun=false"),
    ],
)
def test_a_stack_that_does_not_admit_the_run(parameters: dict[str, str], reason: str) -> None:
    """The reason says what to deploy."""
    with pytest.raises(safety.UnsafeError, match=reason):
        safety.check_stack(RUN, parameters)


@pytest.mark.parametrize("pattern", ["*", "acceptance/*", "team/*,acceptance/*", "acc?ptance/*"])
def test_a_stack_that_admits_the_run(pattern: str) -> None:
    """Patterns are read as the stack reads them."""
    safety.check_stack(RUN, {"RepositoryPattern": pattern, "ProtectedRepositories": "team/*", "DryRun": "false"})


def test_repositories_of_others_are_named() -> None:
    """Those under the prefix without the tag; others are nobody's business."""
    with pytest.raises(safety.UnsafeError, match="acceptance/a and 1 more begins with acceptance/"):
        safety.check_repositories("acceptance/", {"acceptance/b": False, "acceptance/a": False, "team/app": False})
    safety.check_repositories("acceptance/", {"acceptance/b": True, "team/app": False})


def test_scanning_that_costs() -> None:
    """Amazon Inspector charges for each image, so a run refuses repositories that it would scan."""
    with pytest.raises(safety.UnsafeError, match="Amazon Inspector charges"):
        safety.check_scanning("acceptance/", "ENHANCED", ["team/*", "*"])
    safety.check_scanning("acceptance/", "ENHANCED", ["team/*"])
    safety.check_scanning("acceptance/", "BASIC", ["*"])


def test_an_example_of_a_pattern_matches_it() -> None:
    """The check of protected tags needs a tag that is protected, and valid."""
    for patterns in ("release-*", "v?.0,latest", "*"):
        assert safety.matches(safety.example_of(patterns), patterns)
