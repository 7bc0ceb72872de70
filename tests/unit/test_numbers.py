from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.restore.datapath.numbers import canonical_number, plain_number

NUMBERS = st.from_regex(r"[+-]?([0-9]{1,45}(\.[0-9]{0,9})?|\.[0-9]{1,9})([eE][+-]?[0-9]{1,3})?", fullmatch=True)


def is_held(value: Decimal) -> bool:
    """DynamoDB's limits, said otherwise than in the code."""
    if value == 0:
        return True
    digits = "".join(map(str, value.as_tuple().digits)).strip("0")
    return len(digits) <= 38 and Decimal("1E-130") <= value.copy_abs() < Decimal("1E126")


@given(NUMBERS, NUMBERS)
@example("1.0", "10e-1")
@example("-0", "0.00E5")
@example("100", "1E+2")
@example(".5", "0.50")
@example("1", "-1")
@example("9" * 38, "9" * 38 + "0")
@example("1E-130", "0." + "0" * 129 + "1")
def test_two_numbers_are_the_same_when_their_values_are(one, other):
    values = [Decimal(one), Decimal(other)]
    if not all(map(is_held, values)):
        return
    assert (canonical_number(one) == canonical_number(other)) is (values[0] == values[1])


@given(NUMBERS)
@example("1E125")
@example("-1E-130")
def test_the_plain_spelling_is_the_value_without_exponent_or_needless_zeros(text):
    if not is_held(Decimal(text)):
        return
    plain = plain_number(text)
    assert Decimal(plain) == Decimal(text)
    assert not set(plain) & set("eE+")
    assert plain == "0" or (plain.lstrip("-").startswith("0.") or plain.lstrip("-")[0] != "0")
    assert "." not in plain or plain[-1] not in "0."
    assert plain != "-0"


@given(NUMBERS)
@example("1E126")
@example("1E-131")
@example("1" * 39)
@example("1e999999999")
def test_what_dynamodb_cannot_hold_is_no_number(text):
    if is_held(Decimal(text)):
        assert canonical_number(text)
    else:
        with pytest.raises(ValueError, match=r"^no number that DynamoDB can hold$"):
            canonical_number(text)


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1\n", "1_000", "NaN", "Infinity", "0x1", "1e", "e1", ".", "--1", "١", "²", "1,5",
     "1e9999999999"],
)  # fmt: skip
def test_what_python_may_take_for_a_number_is_not_one(text):
    with pytest.raises(ValueError, match=r"^no number"):
        canonical_number(text)
