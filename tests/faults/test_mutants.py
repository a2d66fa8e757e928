"""The mutants that `make faults` tries on the suites still apply to the code."""

import pytest

from tests.faults.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.promise for mutant in MUTANTS])
def test_a_mutant_applies(mutant: Mutant) -> None:
    """The text that it replaces is there once, and the tests that must notice are there, too."""
    source = (ROOT / "src/handler" / mutant.file).read_text()
    assert mutant.broken(source) != source
    assert all((ROOT / "tests" / test).exists() for test in mutant.tests.split())
