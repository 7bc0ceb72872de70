"""Which backup sets stay, and which go. Pure.

    days        younger sets stay; None: all do, whatever else is set
    daily ...   of each of the newest such periods that have a set, one stays
    minimum     the newest COMPLETE sets, at least this many, stay
    always      the newest good set of every table, and what is in use, shielded, unreadable or dated in the future
    chains      and all that the chain of a set that stays needs

What goes at one moment would go at every later one too, had it stayed: new sets may take the place of old ones, and
time only makes sets older. Only an operator, a restore or a late export can make a reason to keep an old set.
"""

from collections.abc import Iterable

from chalicelib.backup.retention.chains import needed_by, removal_order
from chalicelib.backup.retention.found import FoundSet, FoundStatus, SetPolicy
from chalicelib.backup.retention.plan import Decision, Reason, RetentionPlan, Why, decision, listed
from chalicelib.backup.retention.rules import RULES, View, view_of


def decide_sets(sets: Iterable[FoundSet], policy: SetPolicy, now_ms: int) -> RetentionPlan:
    """Decisions by name of set. Raises ValueError for two sets of one name, and for an unknown time zone.

    Give it every set there is: the plan says nothing of a set that was left out, and another one that builds on it
    counts as broken.
    """
    view = view_of(sets, policy, now_ms)
    keeping = _keeping(view)
    decisions = [_decision(found, keeping.get(found.backup_date, []), policy) for found in view.sets]
    gone = {each.name for each in decisions if not each.is_kept}
    newest_first = [each.name for each in reversed(view.dated) if each.name in gone]
    return RetentionPlan(tuple(decisions), removal_order(newest_first, view.bases))


def _keeping(view: View) -> dict[str, list[Reason]]:
    keeping: dict[str, list[Reason]] = {}
    for rule in RULES:
        for name, reason in rule(view):
            keeping.setdefault(name, []).append(reason)
    for name, needers in needed_by(keeping, view.bases).items():
        reason = Reason(Why.NEEDED, f"the chain of a set that stays needs it: {listed(needers)}", tuple(needers))
        keeping.setdefault(name, []).append(reason)
    return keeping


def _decision(found: FoundSet, keeping: list[Reason], policy: SetPolicy) -> Decision:
    if found.status is FoundStatus.UNFINISHED:
        otherwise = Reason(Why.UNFINISHED, f"it has no manifest, and is older than {policy.days} days")
    else:
        otherwise = Reason(Why.EXPIRED, f"it is older than {policy.days} days, and nothing else keeps it")
    return decision(found.backup_date, keeping, otherwise)
