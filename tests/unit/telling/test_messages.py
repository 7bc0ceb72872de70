"""What is said fits where it goes, whatever stands in a manifest, and names what failed."""

import json

import pytest

from chalicelib.backup.notices import AgedTable, What
from chalicelib.backup.on_demand.rows import BackupState, RunRecord, RunRow, RunState, TableRow
from chalicelib.backup.rows import ExportRow, SetRecord, SetRow
from chalicelib.backup.states import ExportState, SetState
from chalicelib.telling import messages
from chalicelib.telling.wording import MOST_BODY_BYTES, MOST_DETAIL_BYTES, Message, subject
from tests.unit.telling.cases import HOSTILE, completed, failed, manifest, notice

HOUR_MS = 3600 * 1000
NOW_MS = 1_795_300_000_000


def record(tables: list[str], exports: list[ExportRow], corrupt: dict[str, str] | None = None) -> SetRecord:
    set_row = SetRow(
        backup_date="2026-11-21",
        status=SetState.OPEN,
        environment="prod",
        s3_bucket="backups",
        exports_prefix="native-exports",
        started_at_ms=NOW_MS - 7 * HOUR_MS,
        tables=tables,
        open_kind="BACKUP",
    )
    return SetRecord(set_row, exports, corrupt or {})


def export(name: str, status: ExportState, **facts) -> ExportRow:
    return ExportRow(backup_date="2026-11-21", table_name=name, status=status, **facts)


def run_record(names: list[str], text: str | None = None) -> RunRecord:
    """One on-demand backup failed for each text, else all were made."""
    state = BackupState.FAILED if text else BackupState.AVAILABLE
    rows = {
        name: TableRow(
            backup_date="2026-11-21",
            table_name=name,
            status=state,
            size_bytes=2_000_000,
            failure_code=text,
            failure_message=text,
        )
        for name in names
    }
    run = RunRow(
        backup_date="2026-11-21",
        status=RunState.PARTIAL if text else RunState.COMPLETE,
        environment="prod",
        started_at_ms=NOW_MS,
        tables=names,
        unmatched=names if text else [],
    )
    return RunRecord(run, rows)


def all_kinds(text: str, count: int) -> list[Message]:
    """Every kind of message, of `count` tables, with `text` wherever a text can stand."""
    names = [f"{text}-{number}" for number in range(count)]
    tables = [failed(name, text, text) for name in names]
    notes = [completed(f"{name}-ok", (text, text)) for name in names]
    of_set = manifest([*tables, *notes], unmatched=tuple(names), started_at=text, completed_at=text)
    waiting = [
        export(name, ExportState.PENDING, failure_code=text, failure_message=text, export_arn=text) for name in names
    ]
    stale = tuple(AgedTable(name, 40 * HOUR_MS, text, text) for name in names[:100])
    return [
        messages.finished(notice(), of_set),
        messages.finished_unread(notice(exports_prefix="native-exports"), text),
        messages.overdue(notice(What.OVERDUE, reason=text), record(names, waiting), NOW_MS),
        messages.not_started(notice(What.NOT_STARTED, reason=text)),
        messages.stale(
            notice(What.STALE, stale=stale, all_tables=count, stale_tables=count, longest_age_hours=36, reason=text)
        ),
        messages.on_demand_finished(notice(What.ON_DEMAND_FINISHED), run_record(names, text)),
    ]


@pytest.mark.parametrize("count", [1, 30, 10_000])
@pytest.mark.parametrize("text", ["plain", HOSTILE, "\U0001f600" * 5000], ids=["plain", "hostile", "wide"])
def test_every_message_fits_its_limits_and_breaks_no_line(text, count):
    for message in all_kinds(text, count):
        assert 0 < len(message.subject) < 100
        assert message.subject.isascii()
        assert message.subject.isprintable()
        assert 0 < len(message.body.encode()) <= MOST_BODY_BYTES
        assert all(line.isprintable() for line in message.body.split("\n"))
        assert "\nSubject:" not in message.body
        assert message.detail.isascii()
        assert len(message.detail) <= MOST_DETAIL_BYTES
        detail = json.loads(message.detail)
        assert detail["notification_id"]
        assert all(message.attributes.values())


def test_the_first_failures_have_their_reasons_and_the_others_their_names():
    tables = [failed(f"table-{number:03d}", f"reason {number}.") for number in range(500)]
    body = messages.finished(notice(), manifest(tables)).body
    assert all(f"- table-{number:03d} (AccessDenied): reason {number}." in body for number in range(20))
    assert "reason 20." not in body
    assert all(f"table-{number:03d}" in body for number in range(500))


def test_what_has_no_room_is_counted():
    tables = [failed(f"a-rather-long-name-of-a-table-{number:05d}", "x" * 300) for number in range(10_000)]
    message = messages.finished(notice(), manifest(tables))
    named = sum(f"-{number:05d}" in message.body for number in range(10_000))
    assert 300 < named < 10_000
    assert f"and {10_000 - named} more" in message.body
    detail = json.loads(message.detail)
    assert len(detail["failures"]) > 300
    assert len(detail["failures"]) + detail["failures_omitted"] == 10_000
    assert len(message.detail) > MOST_DETAIL_BYTES - 1000


def test_a_finished_set_says_how_much_and_how_long():
    message = messages.finished(notice(status="COMPLETE"), manifest([completed("orders"), completed("users")]))
    assert message.subject == "[tablevault prod] backup 2026-11-21 COMPLETE: 2 tables"
    assert "Items: 14\n" in message.body
    assert "(2 h 05 min)" in message.body
    assert json.loads(message.detail)["duration_s"] == 7500
    assert "What to do" not in message.body


def test_notes_are_told():
    body = messages.finished(notice(), manifest([completed("orders", ("full, as the chain was broken",))])).body
    assert "- orders: full, as the chain was broken" in body


def test_an_overdue_set_says_of_each_table_what_it_waits_for():
    rows = [
        export("done", ExportState.COMPLETED),
        export("failed", ExportState.FAILED, failure_code="X", failure_message="no"),
        export("runs", ExportState.IN_PROGRESS, export_arn="arn:of-it"),
        export("waits", ExportState.PENDING, failure_code="LimitExceededException", failure_message="too many"),
        export("half", ExportState.COMPLETED, parts=2),
    ]
    of_set = record(["done", "failed", "runs", "waits", "half", "new", "torn"], rows, {"torn": "cannot be read"})
    message = messages.overdue(notice(What.OVERDUE), of_set, NOW_MS)
    assert message.subject == "[tablevault prod] backup 2026-11-21 OVERDUE: 5 of 7 tables not ended after 7 h"
    failures = {each["table"]: (each["code"], each["message"]) for each in json.loads(message.detail)["failures"]}
    assert failures == {
        "runs": ("IN_PROGRESS", "DynamoDB still runs the export arn:of-it"),
        "waits": ("LimitExceededException", "too many"),
        "half": ("PENDING", "its export waits to be started"),
        "new": ("PENDING", "its export waits to be started"),
        "torn": ("LedgerEntryCorrupt", "cannot be read"),
    }


def test_more_stale_tables_than_are_kept_are_counted():
    stale = tuple(AgedTable(f"table-{number}", 50 * HOUR_MS) for number in range(100))
    of_day = notice(What.STALE, stale=stale, stale_tables=480, all_tables=500, longest_age_hours=36)
    message = messages.stale(of_day)
    assert "480 of 500 tables have none of the last 36 h" in message.subject
    assert "… and 380 more" in message.body
    assert json.loads(message.detail)["stale_tables"] == 480


@pytest.mark.parametrize("environment", ["p", "x" * 64])
def test_a_subject_keeps_what_is_said(environment):
    said = "backup 2026-11-21T010203Z PARTIAL: 10000 of 10000 tables failed"
    made = subject(environment, said)
    assert made.endswith(f"] {said}")
    assert made.startswith(f"[tablevault {environment[:10]}")
    assert len(made) < 100


def test_on_demand_backups_are_told_with_what_failed():
    said = messages.on_demand_finished(notice(What.ON_DEMAND_FINISHED), run_record(["orders", "catalog"]))
    assert said.subject.endswith("on-demand backups 2026-11-21 COMPLETE: 2 tables")
    assert json.loads(said.detail)["total_size_mb"] == 4.0
    said = messages.on_demand_finished(notice(What.ON_DEMAND_FINISHED), run_record(["orders"], "AccessDenied"))
    assert "- orders (AccessDenied): AccessDenied" in said.body
    assert (said.attributes["status"], said.detail_type) == ("PARTIAL", "On-Demand Backups Finished")
    assert json.loads(said.detail)["failed_backups"] == 1
