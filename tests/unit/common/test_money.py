"""Amounts are read at a glance, large and small."""

import pytest

from llmrouter.common.money import dollars


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (0, "$0.00"),
        (12.5, "$12.50"),
        (1234.567, "$1,234.57"),
        (0.1, "$0.10"),
        (0.0149, "$0.0149"),
        (9e-07, "$0.0000009"),
        (2.5e-06, "$0.0000025"),
        (1.4949e-05, "$0.0000149"),
        (float("inf"), "$inf"),
    ],
)
def test_an_amount_is_told_without_exponents(amount, told):
    assert dollars(amount) == told
