"""Settings: read from the environment once, validated as a whole, frozen.

A wrong environment raises SettingsInvalid naming every fault of every variable at once, so that one deploy
mends them all. A setting that would change nothing is refused, not ignored: a promise broken in silence.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from dateutil import tz

from chalicelib.errors import Fault, SettingsInvalid
from chalicelib.selection import TABLE_NAME, Selection, parse_entry

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*\Z")
_SCHEDULE = re.compile(r"(cron|rate)\(.+\)\Z")
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
_ZONE_NAME = re.compile(r"[A-Za-z]+[A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*\Z")  # not a path, not a POSIX rule
_OFTEN = re.compile(r"rate\(\s*(\d+)\s+(minute|hour)s?\s*\)\Z")
_PRICES = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,9})?)\s*/\s*([0-9]{1,4}(?:\.[0-9]{1,9})?)\Z")
_EVERY_DAY = frozenset({"0", "EVERYDAY"})
_FLAGS = ("true", "false")
_STRATEGIES = ("full", "weekly-full")
_WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_PERIODS = ("RETENTION_DAILY", "RETENTION_WEEKLY", "RETENTION_MONTHLY", "RETENTION_YEARLY")
_ON_DEMAND = ("none", "daily")
# It stands in the names of on-demand backups, which have 255 characters.
_ENVIRONMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
# https://docs.aws.amazon.com/sns/latest/dg/sns-create-topic.html
_TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?\Z")
_EVENT_BUS = re.compile(r"[A-Za-z0-9_./:-]{1,400}\Z")  # a name, or an ARN
_MOST_DAYS = 36_500


class Origins(NamedTuple):
    """What faults say of values that may come from elsewhere than the environment (chalicelib/parameters.py), each by
    variable: where a value was found, the variables whose value no fault may show, and what is said of one that is
    required and was found nowhere."""

    places: Mapping[str, str] = MappingProxyType({})
    secret: frozenset[str] = frozenset()
    missing: Mapping[str, str] = MappingProxyType({})


_ENVIRONMENT_ALONE = Origins()


class AsOf(NamedTuple):
    """The moment of the day a backup shows; None where the time of the run decides.

    `day`: 1-31 is that day of the month, None the day of the run. `second_of_day`: None is the time of the run.
    """

    day: int | None = None
    second_of_day: int | None = None
    timezone: str = "UTC"


@dataclass(frozen=True)
class RequestPrices:
    """US dollars per million on-demand request units. No tuple: in the ledger's rows it stands as an object."""

    write_usd_per_million: float
    read_usd_per_million: float


class Retention(NamedTuple):
    """How long what is made stays. Days: None is for ever. `daily` to `yearly`: of how many such periods the last set
    stays. `minimum`: of sets, and of each table's scheduled on-demand backups."""

    days: int | None = None
    minimum: int = 3
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    on_demand_days: int | None = None
    safety_days: int | None = None


class Telling(NamedTuple):
    """Who is told. `topic`: an SNS topic's ARN; None tells nobody. `longest_age_hours`: of a table's newest complete
    backup, before it is told; None never."""

    topic: str | None = None
    event_bus: str = "default"
    overdue_after_hours: int = 6
    longest_age_hours: int | None = 36


class Settings(NamedTuple):
    backup_bucket: str
    environment: str
    dynamodb_tables: Selection
    s3_exports_prefix: str
    ledger_table: str
    restore_queue: str
    restore_dead_letter_queue: str
    backup_schedule: str
    as_of: AsOf
    s3_sse_kms_key_id: str | None
    backup_bucket_owner: str | None
    restore_max_concurrency: int
    api_tokens_parameter: str
    dynamodb_prices: RequestPrices | None = None
    enable_pitr: bool = False
    full_export_day: int | None = None  # of increments in between: the weekday of full exports, Monday is 0
    on_demand_daily: bool = False  # a native on-demand backup of each table, too
    retention: Retention = Retention()
    telling: Telling = Telling()
    prune_schedule: str = "cron(0 5 * * ? *)"


class _Reader:
    """Takes values out of an environment and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str], origins: Origins) -> None:
        self._environ = environ
        self._origins = origins
        self.faults: list[Fault] = []

    def text(
        self,
        name: str,
        default: str | None = None,
        *,
        pattern: re.Pattern[str] | None = None,
        allowed: str = "",
    ) -> str:
        value = self._environ.get(name, "").strip()
        if not value:
            if default is None:
                self.fault(name, self._origins.missing.get(name, "is required and not set"))
            return default or ""
        if pattern is not None and not pattern.match(value):
            self.fault(name, f"is {value!r}", f"allowed: {allowed}")
        return value

    def optional(self, name: str, *, pattern: re.Pattern[str], allowed: str) -> str | None:
        return self.text(name, "", pattern=pattern, allowed=allowed) or None

    def one_of(self, name: str, allowed: tuple[str, ...], more: str = "") -> str:
        """The first one, where it is not set."""
        value = self.text(name, allowed[0])
        if value not in allowed:
            self.fault(name, f"is {value!r}", f"this version allows: {', '.join(allowed)}{more}")
        return value

    def number(self, name: str, default: int | None, lowest: int, highest: int) -> int | None:
        value = self._environ.get(name, "").strip()
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or not lowest <= int(value) <= highest:
            self.fault(name, f"is {value!r}", f"allowed: a whole number from {lowest} to {highest}")
            return default
        return int(value)

    def flag(self, name: str) -> bool:
        value = self.text(name, "false").lower()
        if value not in _FLAGS:
            self.fault(name, f"is {value!r}", f"allowed: {', '.join(_FLAGS)}")
        return value == "true"

    def fault(self, name: str, told: str, allowed: str = "") -> None:
        """`told` may quote the value, `allowed` never does: of a SecureString only the latter is said."""
        if name in self._origins.secret:
            told = "has a wrong value, not shown as it is a SecureString's"
        message = f"{told}; {allowed}" if allowed else told
        place = self._origins.places.get(name)
        self.faults.append(Fault(name, f"{message} (from {place})" if place else message))

    def is_set(self, name: str) -> bool:
        return bool(self._environ.get(name, "").strip())


def read_settings(environ: Mapping[str, str], origins: Origins = _ENVIRONMENT_ALONE) -> Settings:
    """Settings from environment variables; raises SettingsInvalid with every fault of every variable.

    What SSM_PARAMETER_PATH adds must stand in `environ` already: `load_settings` of chalicelib/services.py does that.
    """
    reader = _Reader(environ, origins)
    settings = Settings(
        backup_bucket=reader.text("BACKUP_BUCKET", pattern=_BUCKET_NAME, allowed="the name of an S3 bucket"),
        environment=reader.text("ENVIRONMENT", pattern=_ENVIRONMENT, allowed="up to 64 of a-z A-Z 0-9 _ . -"),
        dynamodb_tables=_tables(reader),
        s3_exports_prefix=reader.text(
            "S3_EXPORTS_PREFIX",
            "native-exports",
            pattern=_PREFIX,
            allowed="a key prefix of safe characters without a slash at either end",
        ),
        ledger_table=reader.text(
            "LEDGER_TABLE", "tablevault-ledger", pattern=TABLE_NAME, allowed="the name of a DynamoDB table"
        ),
        restore_queue=_queue(reader, "RESTORE_QUEUE", "tablevault-restore"),
        restore_dead_letter_queue=_queue(reader, "RESTORE_DEAD_LETTER_QUEUE", "tablevault-restore-dead-letter"),
        backup_schedule=_schedule(reader),
        as_of=_as_of(reader),
        s3_sse_kms_key_id=reader.optional(
            "S3_SSE_KMS_KEY_ID", pattern=re.compile(r"\S+\Z"), allowed="a KMS key id, alias or ARN"
        ),
        backup_bucket_owner=reader.optional(
            "BACKUP_BUCKET_OWNER", pattern=re.compile(r"[0-9]{12}\Z"), allowed="an account id of 12 digits"
        ),
        # AWS' own bounds of an event source mapping's MaximumConcurrency:
        # https://docs.aws.amazon.com/lambda/latest/api/API_ScalingConfig.html
        restore_max_concurrency=reader.number("RESTORE_MAX_CONCURRENCY", 20, 2, 1000) or 0,
        api_tokens_parameter=reader.text("API_TOKENS_PARAMETER", "/tablevault/api-tokens"),
        dynamodb_prices=_prices(reader),
        enable_pitr=reader.flag("ENABLE_PITR"),
        full_export_day=_full_export_day(reader),
        on_demand_daily=reader.one_of("ON_DEMAND_BACKUPS", _ON_DEMAND) == "daily",
        retention=_retention(reader),
        telling=_telling(reader),
        prune_schedule=reader.text(
            "PRUNE_SCHEDULE", "cron(0 5 * * ? *)", pattern=_SCHEDULE, allowed="cron(...) or rate(...)"
        ),
    )
    reader.one_of("EXPORT_FORMAT", ("DYNAMODB_JSON",), " (ION comes later)")
    if reader.faults:
        raise SettingsInvalid(reader.faults)
    return settings


def _schedule(reader: _Reader) -> str:
    """Sets are named by their day, so a second run on one day would start nothing, and nobody would know."""
    text = reader.text("BACKUP_SCHEDULE", "cron(0 1 * * ? *)", pattern=_SCHEDULE, allowed="cron(...) or rate(...)")
    often = _OFTEN.match(text)
    if often and int(often[1]) * (60 if often[2] == "hour" else 1) < 24 * 60:
        reader.fault("BACKUP_SCHEDULE", f"is {text!r}", "allowed: at most once a day, as sets are named by their day")
    return text


def _retention(reader: _Reader) -> Retention:
    """Whoever counts periods, or sets a minimum, and no days, believes that something goes: nothing would."""
    days = reader.number("RETENTION_DAYS", None, 1, _MOST_DAYS)
    minimum = reader.number("RETENTION_MINIMUM", None, 1, 1000)
    daily, weekly, monthly, yearly = (reader.number(name, 0, 0, 1000) or 0 for name in _PERIODS)
    on_demand_days = reader.number("ON_DEMAND_RETENTION_DAYS", days, 1, _MOST_DAYS)
    if days is None:
        for name, count in zip(_PERIODS, (daily, weekly, monthly, yearly), strict=True):
            if count:
                reader.fault(name, "is for RETENTION_DAYS, without which every set stays: set that, or unset it")
        if minimum is not None and on_demand_days is None:
            reader.fault("RETENTION_MINIMUM", "is for RETENTION_DAYS, without which all stays: set that, or unset it")
    return Retention(
        days,
        Retention().minimum if minimum is None else minimum,
        daily,
        weekly,
        monthly,
        yearly,
        on_demand_days=on_demand_days,
        safety_days=reader.number("SAFETY_BACKUP_RETENTION_DAYS", None, 1, _MOST_DAYS),
    )


def _telling(reader: _Reader) -> Telling:
    default = Telling()
    return Telling(
        topic=reader.optional("NOTIFICATION_TOPIC", pattern=_TOPIC_ARN, allowed="the ARN of an SNS topic"),
        event_bus=reader.text(
            "EVENT_BUS", default.event_bus, pattern=_EVENT_BUS, allowed="the name or ARN of an EventBridge event bus"
        ),
        overdue_after_hours=reader.number("OVERDUE_AFTER_HOURS", default.overdue_after_hours, 1, 24) or 0,
        longest_age_hours=reader.number("LONGEST_BACKUP_AGE_HOURS", default.longest_age_hours, 0, 24 * 400) or None,
    )


def _full_export_day(reader: _Reader) -> int | None:
    """None: full exports every day."""
    strategy = reader.one_of("EXPORT_STRATEGY", _STRATEGIES)
    day = reader.text("FULL_EXPORT_DAY", _WEEKDAYS[-1]).upper()
    if day not in _WEEKDAYS:
        reader.fault("FULL_EXPORT_DAY", f"is {day!r}", f"allowed: {', '.join(_WEEKDAYS)}")
    elif strategy == "full" and reader.is_set("FULL_EXPORT_DAY"):
        reader.fault("FULL_EXPORT_DAY", "is for EXPORT_STRATEGY=weekly-full: unset it, or set that")
    if strategy != "weekly-full" or day not in _WEEKDAYS:
        return None
    if reader.text("BACKUP_DAY", "0").upper() not in _EVERY_DAY:
        reader.fault(
            "BACKUP_DAY", "must be 0 or EVERYDAY with EXPORT_STRATEGY=weekly-full: increments go from day to day"
        )
    return _WEEKDAYS.index(day)


def _queue(reader: _Reader, name: str, default: str) -> str:
    return reader.text(name, default, pattern=_QUEUE_NAME, allowed="the name of an SQS standard queue (no URL, no ARN)")


def _prices(reader: _Reader) -> RequestPrices | None:
    text = reader.text("DYNAMODB_PRICES", "")
    if not text:
        return None
    found = _PRICES.match(text)
    if found is None:
        reader.fault(
            "DYNAMODB_PRICES",
            f"is {text!r}",
            "allowed: US dollars per million write and read request units, such as 0.625/0.125",
        )
        return None
    return RequestPrices(float(found[1]), float(found[2]))


def _tables(reader: _Reader) -> Selection:
    text = reader.text("DYNAMODB_TABLES")
    try:
        texts = json.loads(text or "[]")
    except (ValueError, RecursionError):
        texts = None
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts) or (text and not texts):
        reader.fault("DYNAMODB_TABLES", f"is {text!r}", 'allowed: a JSON array of table names, such as ["orders"]')
        return Selection(())
    entries = []
    for each in texts:
        try:
            entries.append(parse_entry(each))
        except ValueError as error:
            reader.fault("DYNAMODB_TABLES", f"names {each!r}", f"allowed: {error}")
    repeated = sorted({each for each in texts if texts.count(each) > 1})
    if repeated:
        reader.fault("DYNAMODB_TABLES", f"names twice: {', '.join(repeated)}")
    if entries and all(entry.is_exclusion for entry in entries):
        reader.fault("DYNAMODB_TABLES", f"is {text!r}, which only excludes", "allowed: at least one entry without !")
    return Selection(tuple(entries))


def _as_of(reader: _Reader) -> AsOf:
    timezone = reader.text("BACKUP_TIMEZONE", "UTC")
    if not _ZONE_NAME.match(timezone) or tz.gettz(timezone) is None:
        reader.fault("BACKUP_TIMEZONE", f"is {timezone!r}", "allowed: an IANA time zone such as Europe/Berlin")
    day_text = reader.text("BACKUP_DAY", "0").upper()
    day = None if day_text in _EVERY_DAY else reader.number("BACKUP_DAY", None, 1, 31)
    parts = [
        reader.number("BACKUP_HOUR", None, 0, 23),
        reader.number("BACKUP_MINUTE", None, 0, 59),
        reader.number("BACKUP_SECOND", None, 0, 59),
    ]
    if all(part is None for part in parts):
        return AsOf(day, None, timezone)
    hour, minute, second = (part or 0 for part in parts)
    return AsOf(day, hour * 3600 + minute * 60 + second, timezone)
