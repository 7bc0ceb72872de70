"""What a seed decides of a year: its settings, how often things go wrong, and how its exports go."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from tests.simulation.aws.exports import ExportPlan
from tests.simulation.year.policy import Policy

TABLES = ("orders", "catalog", "reset", "anew", "quiet")
TOPIC = "arn:aws:sns:eu-west-1:123456789012:tablevault-simulated"
_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_NO_BUCKET = ("S3NoSuchBucket", "the bucket does not exist")
_BROKE_OFF = ("InternalServerError", "it broke off")


@dataclass(frozen=True)
class YearPlan:
    """Chances are per day."""

    policy: Policy
    full_export_day: str
    is_versioned: bool
    faulty: float = 0.4
    schedule_missed: float = 0.04
    by_hand: float = 0.06
    recovery_lost: float = 0.02
    table_lost: float = 0.02
    bucket_denied: float = 0.02
    quota_full: float = 0.03
    shielded: float = 0.06
    skewed: float = 0.5  # of containers


def plan_of(random: Random) -> YearPlan:
    minimum = random.choice((1, 3, 5))
    policy = Policy(
        days=random.choice((10, 14, 20)),
        minimum=minimum,
        daily=random.choice((0, 0, 5)),
        weekly=random.choice((0, 3, 5)),
        monthly=random.choice((0, 2, 5)),
        on_demand_days=minimum + random.choice((0, 2, 4)),
    )
    day = random.choice(("sunday", "wednesday", "friday"))
    return YearPlan(policy, day, is_versioned=random.random() < 0.5)


# A few weeks in which as much goes wrong as else in a year: for finding defects soon.
HARSH = YearPlan(
    Policy(days=8, minimum=3, daily=0, weekly=3, monthly=2, on_demand_days=3),
    full_export_day="sunday",
    is_versioned=True,
    faulty=0.6,
    schedule_missed=0.12,
    by_hand=0.25,
    recovery_lost=0.05,
    table_lost=0.05,
    bucket_denied=0.05,
    quota_full=0.05,
    shielded=0.4,
)


def environ_of(plan: YearPlan) -> Mapping[str, str]:
    policy = plan.policy
    return {
        "EXPORT_STRATEGY": "weekly-full",
        "FULL_EXPORT_DAY": plan.full_export_day,
        "ON_DEMAND_BACKUPS": "daily",
        "ON_DEMAND_RETENTION_DAYS": str(policy.on_demand_days),
        "RETENTION_DAYS": str(policy.days),
        "RETENTION_MINIMUM": str(policy.minimum),
        "RETENTION_DAILY": str(policy.daily),
        "RETENTION_WEEKLY": str(policy.weekly),
        "RETENTION_MONTHLY": str(policy.monthly),
        "NOTIFICATION_TOPIC": TOPIC,
    }


class ExportPlans:
    """How each export of a table goes: one that breaks off does so as often as was drawn for it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failing: dict[str, list[ExportPlan]] = {}

    def next(self, table: str) -> ExportPlan:
        failing = self._failing.setdefault(table, [])
        if not failing:
            plan = _drawn(self._random)
            failing += [plan] * (plan.failing_attempts or 1)
        return failing.pop()


def _drawn(random: Random) -> ExportPlan:
    """Most go well, within minutes."""
    lasts_us = random.randrange(20_000_000, 6 * _MINUTE_US)
    match random.randrange(60):
        case 0:
            return ExportPlan(lasts_us, failure=_NO_BUCKET)
        case 1 | 2 | 3:
            return ExportPlan(lasts_us, failure=_BROKE_OFF, failing_attempts=random.choice((1, 2, 3)))
        case 4:
            return ExportPlan(lasts_us, is_damaged=True)
        case 5:
            return ExportPlan(random.randrange(lasts_us, random.choice((2, 2, 8, 30)) * _HOUR_US))
        case 6 | 7 | 8 | 9:
            return ExportPlan(lasts_us, is_event_lost=True)
        case 10 | 11:
            return ExportPlan(lasts_us, is_md5_late=True)
        case 12:
            return ExportPlan(lasts_us, completed_after_us=random.randrange(_MINUTE_US, 4 * _MINUTE_US))
    return ExportPlan(lasts_us)
