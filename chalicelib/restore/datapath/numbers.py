"""DynamoDB's numbers as text: one spelling for each value."""

import re

_NUMBER = re.compile(r"([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d{1,9}))?", re.ASCII)

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
_MOST_DIGITS = 38
_LEAST_EXPONENT, _LARGEST_EXPONENT = -130, 125  # of the first digit


def canonical_number(text: str) -> str:
    """The digits of a number without zeros around them, and the power of ten of the last one: "1.0", "1" and "10e-1"
    are all "1e0". Raises ValueError, without the text, where it is no number or none that DynamoDB can hold: up to 38
    digits, from 1E-130 to 9.9…E+125, or zero
    (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html).
    """
    if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS and text[0] != "0":
        digits = text.rstrip("0")
        return f"{digits}e{len(text) - len(digits)}"
    sign, digits, exponent = _parts(text)
    if not digits:
        return "0"
    first_digit_exponent = exponent + len(digits) - 1
    if len(digits) > _MOST_DIGITS or not _LEAST_EXPONENT <= first_digit_exponent <= _LARGEST_EXPONENT:
        raise ValueError("no number that DynamoDB can hold")
    return f"{sign}{digits}e{exponent}"


def plain_number(text: str) -> str:
    """The value without exponent, as short as can be: "1.0" is "1", "1E2" is "100". Raises as `canonical_number`."""
    canonical = canonical_number(text)
    if canonical == "0":
        return canonical
    sign = "-" if canonical.startswith("-") else ""
    digits, exponent_text = canonical.removeprefix("-").split("e")
    exponent = int(exponent_text)
    if exponent >= 0:
        return sign + digits + "0" * exponent
    padded = digits.rjust(1 - exponent, "0")
    return f"{sign}{padded[:exponent]}.{padded[exponent:]}"


def _parts(text: str) -> tuple[str, str, int]:
    """Sign, digits without zeros around them, and the power of ten of the last one."""
    matched = _NUMBER.fullmatch(text)
    if matched is None:
        raise ValueError("no number")
    sign, whole, after_whole, bare_fraction, exponent_text = matched.groups()
    fraction = after_whole or bare_fraction or ""
    digits = ((whole or "") + fraction).lstrip("0")
    significant = digits.rstrip("0")
    exponent = int(exponent_text or 0) - len(fraction) + len(digits) - len(significant)
    return "-" if sign == "-" else "", significant, exponent
