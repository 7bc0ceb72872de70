"""Lines that CloudWatch makes metrics of: in the embedded metric format, within its limits."""

import json

from chalicelib.backup.rows import ExportRow, SetRecord, SetRow
from chalicelib.backup.states import ExportState, SetState
from chalicelib.telling import metrics
from chalicelib.telling.teller import pause_after

AT_MS = 1_795_222_820_000


def assert_is_emf(line: str) -> dict[str, object]:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""
    assert "\n" not in line
    document: dict[str, object] = json.loads(line)
    described = document["_aws"]
    assert isinstance(described, dict)
    assert set(described) == {"Timestamp", "CloudWatchMetrics"}
    assert described["Timestamp"] == AT_MS
    (directive,) = described["CloudWatchMetrics"]
    assert directive["Namespace"] == "tablevault"
    (dimensions,) = directive["Dimensions"]
    assert 1 <= len(dimensions) <= 30
    assert all(0 < len(str(document[name])) <= 1024 and isinstance(document[name], str) for name in dimensions)
    assert 1 <= len(directive["Metrics"]) <= 100
    for metric in directive["Metrics"]:
        assert metric["Unit"] in ("Count", "Bytes", "Seconds")
        assert isinstance(document[metric["Name"]], int | float)
    return document


def export(name: str, status: ExportState, **facts) -> ExportRow:
    return ExportRow(backup_date="2026-11-21", table_name=name, status=status, **facts)


def a_record() -> SetRecord:
    rows = [
        export(
            "orders",
            ExportState.COMPLETED,
            item_count=5,
            size_bytes=100,
            started_at_ms=10_000,
            ended_at_ms=70_000,
            manifest_files_key="p/2026-11-21/orders/AWSDynamoDB/1-a/manifest-files.json",
        ),
        export("users", ExportState.FAILED, failure_code="X", ended_at_ms=80_000),
    ]
    set_row = SetRow(
        backup_date="2026-11-21",
        status=SetState.PARTIAL,
        environment="prod",
        s3_bucket="b",
        exports_prefix="p",
        started_at_ms=1_000,
        tables=["orders", "users"],
    )
    return SetRecord(set_row, rows)


def test_a_set_has_its_totals_and_each_exported_table_its_own():
    of_set, of_table = [assert_is_emf(line) for line in metrics.of_set(a_record(), AT_MS)]
    values = {name: of_set[name] for name in of_set if name != "_aws"}
    assert values == {
        "Environment": "prod",
        "TablesExported": 1,
        "TablesFailed": 1,
        "ItemsExported": 5,
        "BytesExported": 100,
        "DurationSeconds": 79,
    }
    values = {name: of_table[name] for name in of_table if name != "_aws"}
    assert values == {
        "Environment": "prod",
        "TableName": "orders",
        "ItemsExported": 5,
        "BytesExported": 100,
        "ExportDurationSeconds": 60,
    }


def test_ages_have_one_line_a_table_and_the_largest_without_one():
    lines = [assert_is_emf(line) for line in metrics.of_ages("prod", {"orders": 5_000, "users": 7_000}, AT_MS)]
    ages = {each.get("TableName"): each["NewestCompleteBackupAgeSeconds"] for each in lines}
    assert ages == {"orders": 5, "users": 7, None: 7}
    assert list(metrics.of_ages("prod", {}, AT_MS)) == []


def test_pauses_grow_to_hours_and_what_passes_is_tried_the_next_minute_first():
    passing = [pause_after(failures, may_pass=True) / 60_000 for failures in range(20)]
    lasting = [pause_after(failures, may_pass=False) / 60_000 for failures in range(1000)]
    assert all(pause < 1 for pause in passing[:5])
    assert passing == sorted(passing)
    assert lasting[:4] == [2, 4, 8, 16]
    assert lasting[-1] == 240
