"""Values that are too large are cut as little as possible."""

import json
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.models.limits import json_bytes, truncate_to_fit


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(0, 200), st.integers(0, 40))
def test_the_largest_that_fits_is_built(growth: list[int], limit: int, saved: int) -> None:
    """As a search through every count finds it; the whole may be smaller than a part, as it needs no counts."""
    sizes = [sum(growth[:n]) for n in range(len(growth) + 1)]
    sizes[-1] -= min(saved, sizes[-1])
    fitting = [n for n, size in enumerate(sizes) if size <= limit]
    assert truncate_to_fit(lambda n: n, len(growth), sizes.__getitem__, limit) == max(fitting, default=0)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_where_nothing_fits_nothing_is_built(count: int) -> None:
    """The least there can be, although it is too large as well."""
    assert truncate_to_fit(lambda n: n, count, lambda _: 10, 9) == 0


@given(st.dictionaries(st.text(max_size=3), st.lists(st.text(max_size=3), max_size=7) | st.integers(), max_size=4))
def test_an_object_is_measured_as_long_as_its_json_is(value: dict[str, Any]) -> None:
    """Part by part, whatever is in it."""
    with mock.patch("handler.models.limits._MEASURED_AT_A_TIME", 3):
        assert json_bytes(value) == len(json.dumps(value))
