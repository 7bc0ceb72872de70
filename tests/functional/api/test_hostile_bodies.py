"""Bodies made to break a parser: refused with a 4xx, by an answer that Lambda can send, before much work is done."""

import base64
import gzip
import json
import time

import pytest

from tests.functional.api.gateway import assert_problem, faults
from tests.functional.api.test_bad_requests import POSTS, event

MEGABYTE = 1024 * 1024
LARGEST_ANSWER_BYTES = 6 * MEGABYTE
# Far above what any of these takes; a parser that is quadratic in a megabyte takes minutes.
LONGEST_S = 5.0
DEEP = 100_000
NAMES = [f"table-{number:06}" for number in range(40_000)]

NOT_JSON = {
    "deep lists in a field": b'{"tables": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects in a field": b'{"target_tables": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep and open": b'{"tables": ' + b"[" * DEEP,
    "lists and objects in turn": b'[{"a":' * DEEP,
    "a number beyond any": b'{"max_workers": 1e999999}',
    "a number below any": b'{"max_workers": -1e999999}',
    "5,000 digits": b'{"max_workers": ' + b"9" * 5_000 + b"}",
    "500,000 digits": b'{"max_workers": ' + b"9" * 500_000 + b"}",
    "NaN": b'{"max_workers": NaN}',
    "Infinity": b'{"max_workers": -Infinity}',
    "hexadecimal": b'{"max_workers": 0x10}',
    "a name twice": b'{"dry_run": true, "dry_run": true}',
    "a name twice, once escaped": b'{"dry_run": true, "\\u0064ry_run": false}',
    "a name twice, far below": b'{"x": [[[{"a": 1, "a": 2}]]]}',
    "half of a surrogate pair": b'{"backup_date": "\\ud800"}',
    "the other half": b'{"\\udc00": 1}',
    "NUL in a text": b'{"backup_date": "\x00"}',
    "NUL after the end": b"{}\x00",
    "a newline in a text": b'{"backup_date": "\n"}',
    "UTF-8 that is none": b'{"backup_date": "\xc0\x80"}',
    "UTF-8 of half a pair": b'{"backup_date": "\xed\xa0\x80"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"dry_run": true}'.encode("utf-16"),
    "UTF-32": '{"dry_run": true}'.encode("utf-32"),
    "gzip": gzip.compress(b'{"dry_run": true}'),
    "base64": base64.b64encode(b'{"dry_run": true}'),
    "a form": b"dry_run=true",
    "a comment": b'{"dry_run": true /* no */}',
    "a bomb": gzip.compress(b" " * 10 * MEGABYTE),
    "blanks": b" " * 1_000_000,
    "an open text": b'{"backup_date": "' + b"x" * 1_000_000,
    "backslashes": b'{"backup_date": "' + b"\\" * 1_000_001,
}
REFUSED = {
    "400 digits": b'{"max_workers": ' + b"9" * 400 + b"}",
    "300 digits behind the point": b'{"max_workers": 1.' + b"1" * 300 + b"}",
    "a NUL that is escaped": b'{"backup_date": "\\u0000"}',
    "10,000 fields": json.dumps({f"field-{number}": {} for number in range(10_000)}).encode(),
    "10,000 faults in a list": json.dumps({"tables": [None] * 10_000}).encode(),
    "40,000 tables": json.dumps({"tables": NAMES}).encode(),
    "20,000 targets": json.dumps({"target_tables": {name: name for name in NAMES[:20_000]}}).encode(),
    "500 targets that are none": json.dumps(
        {"target_tables": {"\N{SNOWMAN}" * 300 + name: 1 for name in NAMES[:500]}}
    ).encode(),
    "500 tables onto one": json.dumps(
        {"tables": NAMES[:500], "target_tables": dict.fromkeys(NAMES[:500], "one")}
    ).encode(),
    "the same table 500 times": json.dumps({"tables": ["orders"] * 500}).encode(),
    "a name of a megabyte": json.dumps({"x" * 1_000_000: 1}).encode(),
    "a value of a megabyte": json.dumps({"backup_date": "2" * 1_000_000}).encode(),
    "names of Python's": b'{"__class__": {}, "__init__": 1, "__struct_fields__": []}',
    "names of JavaScript's": b'{"__proto__": {"dry_run": true}, "constructor": {}}',
    "names that almost are": json.dumps(
        {"dry_run\x00": 1, "dry_run ": 1, "Dry_run": 1, "\N{CYRILLIC SMALL LETTER DE}ry_run": 1}
    ).encode(),
}


def bounded(api, path, body, **more):
    began = time.process_time()
    answer = api.call("POST", path, body, **more)
    assert time.process_time() - began < LONGEST_S
    assert len(answer.text.encode()) < LARGEST_ANSWER_BYTES
    return answer


@pytest.fixture(autouse=True)
def nothing_started(api):
    yield
    assert api.world.open_work() == []


@pytest.mark.parametrize("what", NOT_JSON)
def test_what_is_not_json_in_utf8_is_400(api, what):
    for path in POSTS:
        assert_problem(bounded(api, path, NOT_JSON[what]), 400, "malformed_request")


@pytest.mark.parametrize("what", REFUSED)
def test_json_that_means_nothing_is_422_on_every_route(api, what):
    for path in POSTS:
        assert faults(bounded(api, path, REFUSED[what]))


@pytest.mark.parametrize("size_bytes", [MEGABYTE + 1, 6 * MEGABYTE, 10 * MEGABYTE])
@pytest.mark.parametrize("form", ["zeros", "deep", "text"])
def test_a_body_beyond_a_megabyte_is_413_whatever_it_holds(api, size_bytes, form):
    body = {"zeros": b"\x00", "deep": b"[", "text": b'"'}[form] * size_bytes
    for path in POSTS:
        assert_problem(bounded(api, path, body), 413, "request_too_large")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "json",
        "\x00",
        "a" * 8000,
    ],
)
def test_another_media_type_is_415_and_its_name_is_only_repeated(api, content_type):
    answer = bounded(api, "/restores", b"{}", headers={"Content-Type": content_type})
    assert_problem(answer, 415, "unsupported_media_type")


def test_a_content_encoding_is_not_followed(api):
    """Nothing here unpacks: a body that says it is gzip is read as what it is."""
    packed = gzip.compress(b'{"dry_run": true}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    assert_problem(bounded(api, "/restores", packed, headers=headers), 400, "malformed_request")


@pytest.mark.parametrize("body", [None, b""])
def test_no_body_is_a_body_without_fields(api, body):
    for path, code in zip(POSTS, (202, 404, 404), strict=True):
        if path != "/backups":
            assert bounded(api, path, body).status == code


@pytest.mark.parametrize("text", ["\ud800", '{"backup_date": "\ud800"}', '{"\udfff": 1}'])
def test_half_of_a_surrogate_pair_in_a_lambda_event_is_400(api, text):
    answer = api.app(event(text), None)
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (400, "malformed_request")


def test_a_lambda_event_with_such_a_name_in_the_query_is_answered_in_valid_json(api):
    request = event("{}")
    request["multiValueQueryStringParameters"] = {"\ud800\x00\n": ["1"], "limit": ["\udfff"]}
    answer = api.app(request, None)
    document = json.loads(answer["body"])
    assert (answer["statusCode"], document["code"]) == (422, "invalid_request")
    answer["body"].encode()
    assert not [letter for letter in answer["body"] if not letter.isprintable()]
