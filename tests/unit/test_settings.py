"""Settings: defaults, every fault of every variable at once, and nothing promised that is not kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.errors import SettingsInvalid
from chalicelib.selection import Selection, parse_entry
from chalicelib.settings import AsOf, RequestPrices, Retention, Settings, Telling, read_settings

REQUIRED = {"BACKUP_BUCKET": "backups", "ENVIRONMENT": "tests", "DYNAMODB_TABLES": '["orders", "catalog"]'}


def read(**environ: str) -> Settings:
    return read_settings({**REQUIRED, **environ})


def faults(**environ: str) -> dict[str, str]:
    with pytest.raises(SettingsInvalid) as raised:
        read(**environ)
    return {fault.path: fault.message for fault in raised.value.faults}


def test_what_is_not_set_has_its_documented_default():
    assert read() == Settings(
        backup_bucket="backups",
        environment="tests",
        dynamodb_tables=Selection((parse_entry("orders"), parse_entry("catalog"))),
        s3_exports_prefix="native-exports",
        ledger_table="tablevault-ledger",
        restore_queue="tablevault-restore",
        restore_dead_letter_queue="tablevault-restore-dead-letter",
        backup_schedule="cron(0 1 * * ? *)",
        as_of=AsOf(None, None, "UTC"),
        s3_sse_kms_key_id=None,
        backup_bucket_owner=None,
        restore_max_concurrency=20,
        api_tokens_parameter="/tablevault/api-tokens",
    )


def test_blanks_around_values_do_not_count_and_empty_is_not_set():
    found = read(BACKUP_BUCKET=" backups ", S3_EXPORTS_PREFIX="  ", RESTORE_MAX_CONCURRENCY="")
    assert (found.backup_bucket, found.s3_exports_prefix, found.restore_max_concurrency) == (
        "backups",
        "native-exports",
        20,
    )


def test_every_fault_of_every_variable_is_named_at_once():
    with pytest.raises(SettingsInvalid) as raised:
        read_settings({"RESTORE_MAX_CONCURRENCY": "1", "BACKUP_HOUR": "24", "BACKUP_TIMEZONE": "Mars/Base"})
    named = {fault.path for fault in raised.value.faults}
    assert named == {
        "BACKUP_BUCKET",
        "ENVIRONMENT",
        "DYNAMODB_TABLES",
        "RESTORE_MAX_CONCURRENCY",
        "BACKUP_HOUR",
        "BACKUP_TIMEZONE",
    }
    assert all(name in raised.value.message for name in named)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BACKUP_BUCKET", "Not_A_Bucket", "name of an S3 bucket"),
        ("S3_EXPORTS_PREFIX", "/exports", "without a slash"),
        ("S3_EXPORTS_PREFIX", "exports/", "without a slash"),
        ("S3_EXPORTS_PREFIX", "a//b", "without a slash"),
        ("S3_EXPORTS_PREFIX", "with space", "safe characters"),
        ("LEDGER_TABLE", "x", "DynamoDB table"),
        ("RESTORE_QUEUE", "https://sqs/queue", "no URL"),
        ("RESTORE_DEAD_LETTER_QUEUE", "queue.fifo", "standard queue"),
        ("BACKUP_SCHEDULE", "0 1 * * ?", "cron(...)"),
        ("BACKUP_BUCKET_OWNER", "123", "12 digits"),
        ("RESTORE_MAX_CONCURRENCY", "1", "from 2 to 1000"),
        ("RESTORE_MAX_CONCURRENCY", "1001", "from 2 to 1000"),
        ("RESTORE_MAX_CONCURRENCY", "ten", "from 2 to 1000"),
        ("RESTORE_MAX_CONCURRENCY", "٢٠", "from 2 to 1000"),
        ("BACKUP_DAY", "32", "from 1 to 31"),
        ("BACKUP_DAY", "-1", "from 1 to 31"),
        ("BACKUP_DAY", "MONDAY", "from 1 to 31"),
        ("BACKUP_HOUR", "24", "from 0 to 23"),
        ("BACKUP_MINUTE", "60", "from 0 to 59"),
        ("BACKUP_SECOND", "now", "from 0 to 59"),
        ("BACKUP_TIMEZONE", "Mars/Base", "IANA time zone"),
        ("EXPORT_FORMAT", "ION", "DYNAMODB_JSON"),
        ("EXPORT_STRATEGY", "weekly", "full, weekly-full"),
        ("ENABLE_PITR", "yes", "true, false"),
        ("FULL_EXPORT_DAY", "SUNDAY", "EXPORT_STRATEGY=weekly-full"),
        ("ENVIRONMENT", "prod eu", "a-z A-Z 0-9"),
        ("ENVIRONMENT", "x" * 65, "up to 64"),
        ("RETENTION_DAYS", "0", "from 1 to 36500"),
        ("RETENTION_MINIMUM", "0", "from 1 to 1000"),
        ("RETENTION_MINIMUM", "3", "is for RETENTION_DAYS"),
        ("RETENTION_DAILY", "7", "is for RETENTION_DAYS"),
        ("RETENTION_YEARLY", "some", "from 0 to 1000"),
        ("ON_DEMAND_BACKUPS", "weekly", "none, daily"),
        ("ON_DEMAND_RETENTION_DAYS", "-1", "from 1 to 36500"),
        ("SAFETY_BACKUP_RETENTION_DAYS", "ever", "from 1 to 36500"),
        ("PRUNE_SCHEDULE", "daily", "cron(...)"),
        ("NOTIFICATION_TOPIC", "my-topic", "ARN of an SNS topic"),
        ("NOTIFICATION_TOPIC", "arn:aws:sqs:us-east-1:123456789012:queue", "ARN of an SNS topic"),
        ("EVENT_BUS", "my bus", "event bus"),
        ("OVERDUE_AFTER_HOURS", "25", "from 1 to 24"),
        ("LONGEST_BACKUP_AGE_HOURS", "1.5", "from 0 to 9600"),
        ("DYNAMODB_TABLES", "orders", "JSON array"),
        ("DYNAMODB_TABLES", "{}", "JSON array"),
        ("DYNAMODB_TABLES", "[]", "JSON array"),
        ("DYNAMODB_TABLES", "[1]", "JSON array"),
        ("DYNAMODB_TABLES", '["ab"]', "3 to 255"),
        ("DYNAMODB_TABLES", '["tag:backup"]', "tag:key=value"),
        ("DYNAMODB_TABLES", '["tag:=daily"]', "tag:key=value"),
        ("DYNAMODB_TABLES", '["!orders", "!app_*"]', "at least one entry without !"),
        ("DYNAMODB_TABLES", '[""]', "table names"),
        ("DYNAMODB_TABLES", '["!"]', "table names"),
        ("DYNAMODB_TABLES", '["a/../b"]', "table names"),
        ("DYNAMODB_TABLES", '["orders", "orders"]', "twice: orders"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name, value, said):
    found = faults(**{name: value})
    assert list(found) == [name]
    assert said in found[name]


def test_retention_is_off_unless_days_are_set():
    assert read().retention == Retention(days=None, minimum=3, on_demand_days=None, safety_days=None)
    counted = {"RETENTION_DAILY": "7", "RETENTION_WEEKLY": "5", "RETENTION_MONTHLY": "12", "RETENTION_YEARLY": "10"}
    found = read(RETENTION_DAYS="14", RETENTION_MINIMUM="2", **counted).retention
    assert found == Retention(14, 2, 7, 5, 12, 10, on_demand_days=14, safety_days=None)


def test_on_demand_backups_have_a_retention_of_their_own():
    found = read(ON_DEMAND_BACKUPS="daily", ON_DEMAND_RETENTION_DAYS="7", SAFETY_BACKUP_RETENTION_DAYS="90")
    assert found.on_demand_daily
    assert found.retention == Retention(days=None, on_demand_days=7, safety_days=90)
    assert read(RETENTION_DAYS="30", ON_DEMAND_RETENTION_DAYS="7").retention.on_demand_days == 7
    assert read(ON_DEMAND_RETENTION_DAYS="7", RETENTION_MINIMUM="5").retention.minimum == 5


def test_who_is_told():
    topic = "arn:aws:sns:eu-central-1:123456789012:backups"
    assert read().telling == Telling(None, "default", 6, 36)
    found = read(NOTIFICATION_TOPIC=topic, EVENT_BUS="ops", OVERDUE_AFTER_HOURS="3", LONGEST_BACKUP_AGE_HOURS="0")
    assert found.telling == Telling(topic, "ops", 3, None)


@pytest.mark.parametrize(
    ("environ", "as_of"),
    [
        ({}, AsOf()),
        ({"BACKUP_DAY": "0"}, AsOf()),
        ({"BACKUP_DAY": "everyday"}, AsOf()),
        ({"BACKUP_DAY": "EVERYDAY", "BACKUP_HOUR": "1"}, AsOf(None, 3600)),
        ({"BACKUP_DAY": "31"}, AsOf(31)),
        ({"BACKUP_HOUR": "0"}, AsOf(None, 0)),
        ({"BACKUP_HOUR": "1", "BACKUP_MINUTE": "02", "BACKUP_SECOND": "3"}, AsOf(None, 3723)),
        ({"BACKUP_SECOND": "59", "BACKUP_TIMEZONE": "Europe/Berlin"}, AsOf(None, 59, "Europe/Berlin")),
    ],
)
def test_the_as_of_moment(environ, as_of):
    assert read(**environ).as_of == as_of


NAMES = ["BACKUP_BUCKET", "DYNAMODB_TABLES", "BACKUP_DAY", "BACKUP_HOUR", "BACKUP_TIMEZONE", "S3_EXPORTS_PREFIX"]


@given(st.sampled_from(NAMES), st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30))
def test_any_value_is_taken_or_named_and_never_another_error(name, value):
    message = ""
    try:
        read(**{name: value})
    except SettingsInvalid as error:
        message = error.message
    assert not message or name in message


def test_request_prices_are_dollars_per_million_units_of_writes_and_reads():
    assert read().dynamodb_prices is None
    assert read(DYNAMODB_PRICES="0.94 / 0.19").dynamodb_prices == RequestPrices(0.94, 0.19)
    assert read(DYNAMODB_PRICES="1/0").dynamodb_prices == RequestPrices(1.0, 0.0)


@pytest.mark.parametrize("value", ["0.94", "0.94/", "-1/1", "1e3/1", "nan/1", "12345/1", "0.94/0.19/1", "a/b"])
def test_prices_that_are_none_are_refused(value):
    assert "such as 0.625/0.125" in faults(DYNAMODB_PRICES=value)["DYNAMODB_PRICES"]
