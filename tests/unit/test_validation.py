"""The reader of declared types: it does what the description says of a request, or it does not start."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from chalicelib.api.openapi import without_null
from chalicelib.restore.requests import RestoreRequest
from chalicelib.validation import read_fields, whole

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
NAMES = st.sampled_from(["orders", "users", "a.b", "xy", "", "orders\n", "\N{ARABIC-INDIC DIGIT ONE}23", "-" * 256])
LIKELY = {
    "backup_date": st.sampled_from(
        ["latest", "2026-11-21", "2026-11-21T010203Z", "2026-11-21\n", "2026-1-1", "latest2026-11-21", "x2026-11-21"]
    ),
    "tables": st.lists(NAMES, max_size=3),
    "target_tables": st.dictionaries(NAMES, NAMES, max_size=3),
    "dry_run": st.sampled_from([True, False, 0, 1, "true", None]),
    "clear_existing_data": st.booleans(),
    "max_workers": st.sampled_from([0, 1, 5.0, 5.5, 1000, 1001, True, "5", 1e300, -1]),
    "safety_backup": st.sampled_from([True, None, "yes"]),
    "mode": st.just("overwrite"),
}
BODIES = st.fixed_dictionaries({}, optional={name: likely | ANYTHING for name, likely in LIKELY.items()})


def described() -> Any:
    """The request's schema as the API serves it."""
    schema = msgspec.json.schema(RestoreRequest)["$defs"]["RestoreRequest"]
    return jsonschema_rs.Draft202012Validator(without_null(schema))


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(body=BODIES)
def test_a_request_has_faults_exactly_where_its_schema_says(body):
    _, faults = read_fields(body, RestoreRequest, "$.", "unknown field", "")
    errors = list(described().iter_errors(body))
    assert bool(faults) == bool(errors), (faults, [error.message for error in errors])
    # A schema names unknown fields together, at the object; all else by the field.
    in_schema = {str(error.instance_path[0]) for error in errors if error.instance_path}
    unknown = set(body) - set(RestoreRequest.__struct_fields__)
    in_faults = {re.split(r"[.\[ ]", fault.path.removeprefix("$."))[0] for fault in faults}
    assert in_faults == in_schema | unknown


def test_values_are_converted():
    body = {"tables": ["orders"], "max_workers": 5.0, "target_tables": {"orders": "copy"}}
    values, faults = read_fields(body, RestoreRequest, "$.", "unknown field", "")
    assert (values, faults) == ({"tables": ("orders",), "max_workers": 5, "target_tables": {"orders": "copy"}}, [])
    assert isinstance(values["max_workers"], int)


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        Annotated[int, Meta(ge=1)],
        Annotated[int, Meta(ge=1, le=5, multiple_of=2)],
        float,
        str,
        Annotated[str, Meta(max_length=5)],
        Annotated[str, Meta(pattern="x", min_length=5)],
        tuple[Literal["a"], ...],
        Annotated[Mapping[str, str], Meta(max_length=3)],
        Annotated[bool, Meta(extra_json_schema={"const": True})],
        bytes,
        list[int],
    ],
)
def test_a_declaration_that_is_not_observed_in_full_is_refused_before_any_request(annotation):
    declared = msgspec.defstruct("Declared", [("field", annotation | None, None)])
    with pytest.raises((TypeError, KeyError)):
        read_fields({}, declared, "$.", "unknown field", "")


@pytest.mark.parametrize("text", ["2026-11-21\n", "\n2026-11-21", "\N{ARABIC-INDIC DIGIT TWO}026-11-21", "x2026-11-21"])
def test_a_pattern_is_for_the_whole_text_and_for_ascii(text):
    pattern = whole(re.compile(r"\d{4}-\d{2}-\d{2}\Z"))
    declared = msgspec.defstruct(
        "Declared", [("field", Annotated[str, Meta(pattern=pattern, extra={"message": "must be a day"})], "")]
    )
    assert read_fields({"field": "2026-11-21"}, declared, "$.", "unknown field", "")[1] == []
    assert read_fields({"field": text}, declared, "$.", "unknown field", "")[1]
