"""Histories of sets, a policy, and of each set why it stays or goes, at three in the morning of 2026-11-21.

Reasons for which a set goes are in lower case.
"""

from chalicelib.backup.retention.found import SetPolicy


def policy(days: int | None = 3, minimum: int = 1, **counts) -> SetPolicy:
    return SetPolicy(days=days, minimum=minimum, **counts)


GOLDEN = {
    "days alone: a set goes when the whole day it is named by is older": (
        policy(3),
        """2026-11-17 COMPLETE orders
           2026-11-18 COMPLETE orders
           2026-11-19 COMPLETE orders
           2026-11-21 COMPLETE orders""",
        """2026-11-17 expired
           2026-11-18 WITHIN_DAYS
           2026-11-19 WITHIN_DAYS
           2026-11-21 WITHIN_DAYS MINIMUM NEWEST""",
    ),
    "a set asked for by hand goes to the second": (
        policy(3),
        """2026-11-18T025959Z COMPLETE orders
           2026-11-18T030000Z COMPLETE orders
           2026-11-20T120000Z COMPLETE orders""",
        """2026-11-18T025959Z expired
           2026-11-18T030000Z WITHIN_DAYS
           2026-11-20T120000Z WITHIN_DAYS MINIMUM NEWEST""",
    ),
    "retention off: everything stays, also with counts": (
        policy(None, 0, daily=1),
        """2020-01-01 COMPLETE orders
           2020-01-02 UNFINISHED
           2026-11-20 PARTIAL orders""",
        """2020-01-01 RETENTION_OFF
           2020-01-02 RETENTION_OFF
           2026-11-20 RETENTION_OFF NEWEST""",
    ),
    "the minimum counts COMPLETE sets only, however old": (
        policy(3, 2),
        """2026-01-01 COMPLETE orders
           2026-01-02 COMPLETE orders
           2026-01-03 PARTIAL
           2026-01-04 COMPLETE orders
           2026-01-05 PARTIAL""",
        """2026-01-01 expired
           2026-01-02 MINIMUM
           2026-01-03 expired
           2026-01-04 MINIMUM NEWEST
           2026-01-05 expired""",
    ),
    "no days and no minimum: the newest good set of every table still stays": (
        policy(0, 0),
        """2026-11-01 COMPLETE orders users gone
           2026-11-02 PARTIAL orders users
           2026-11-03 PARTIAL orders""",
        """2026-11-01 NEWEST
           2026-11-02 NEWEST
           2026-11-03 NEWEST""",
    ),
    "what is made, shielded, read or unreadable stays": (
        policy(3),
        """2026-01-01 OPEN orders
           2026-01-02 COMPLETE orders +shielded
           2026-01-03 PARTIAL orders +read
           2026-01-04 UNFINISHED +shielded
           2026-01-05 UNREADABLE orders
           2026-01-06 COMPLETE orders""",
        """2026-01-01 OPEN
           2026-01-02 SHIELDED
           2026-01-03 RESTORE_READS
           2026-01-04 SHIELDED
           2026-01-05 UNREADABLE
           2026-01-06 MINIMUM NEWEST""",
    ),
    "a set without a manifest goes after the same days, and counts for nothing": (
        policy(3, 1, daily=1, yearly=5),
        """2026-01-01 COMPLETE orders
           2026-01-02 UNFINISHED orders
           2026-11-17 UNFINISHED orders
           2026-11-18 UNFINISHED orders""",
        """2026-01-01 DAILY YEARLY MINIMUM NEWEST
           2026-01-02 unfinished
           2026-11-17 unfinished
           2026-11-18 WITHIN_DAYS""",
    ),
    "an open or unreadable set takes no other one's place": (
        policy(0, 1, daily=1),
        """2026-11-01 COMPLETE orders
           2026-11-02 OPEN orders
           2026-11-03 UNREADABLE orders""",
        """2026-11-01 DAILY MINIMUM NEWEST
           2026-11-02 OPEN
           2026-11-03 UNREADABLE""",
    ),
    "what an unreadable set builds on is not known: nothing before it goes": (
        policy(3),
        """2026-01-01 COMPLETE orders
           2026-01-02 UNFINISHED
           2026-01-03 UNREADABLE
           2026-01-03T120000Z COMPLETE orders
           2026-01-04 COMPLETE orders
           2026-01-05 COMPLETE orders""",
        """2026-01-01 MAY_BE_NEEDED
           2026-01-02 MAY_BE_NEEDED
           2026-01-03 UNREADABLE
           2026-01-03T120000Z MAY_BE_NEEDED
           2026-01-04 expired
           2026-01-05 MINIMUM NEWEST""",
    ),
    "an unreadable one by hand may build on that day's set": (
        policy(3),
        """2026-01-01 COMPLETE orders
           2026-01-01T090000Z UNREADABLE
           2026-01-01T120000Z COMPLETE orders
           2026-01-02 COMPLETE orders
           2026-01-05 COMPLETE orders""",
        """2026-01-01 MAY_BE_NEEDED
           2026-01-01T090000Z UNREADABLE
           2026-01-01T120000Z expired
           2026-01-02 expired
           2026-01-05 MINIMUM NEWEST""",
    ),
    "one without a date may build on any": (
        policy(3),
        """2026-01-01 COMPLETE orders
           2026-01-05 COMPLETE orders
           2026-02-30 UNREADABLE""",
        """2026-01-01 MAY_BE_NEEDED
           2026-01-05 MINIMUM NEWEST MAY_BE_NEEDED
           2026-02-30 UNREADABLE UNDATED""",
    ),
    "what an unreadable set builds on is known from the ledger": (
        policy(3),
        """2026-01-01 COMPLETE orders
           2026-01-02 COMPLETE orders
           2026-01-03 UNREADABLE orders<2026-01-02
           2026-01-05 COMPLETE orders""",
        """2026-01-01 expired
           2026-01-02 NEEDED
           2026-01-03 UNREADABLE
           2026-01-05 MINIMUM NEWEST""",
    ),
    "a chain stays whole, at every hand": (
        policy(1, 1),
        """2026-11-01 COMPLETE orders
           2026-11-08 COMPLETE orders
           2026-11-09 UNFINISHED orders<2026-11-08
           2026-11-10 COMPLETE orders<2026-11-09
           2026-11-20 COMPLETE orders<2026-11-10""",
        """2026-11-01 expired
           2026-11-08 NEEDED
           2026-11-09 NEEDED
           2026-11-10 NEEDED
           2026-11-20 WITHIN_DAYS MINIMUM NEWEST""",
    ),
    "a window that was split is in one set, which does not need itself": (
        policy(1, 1),
        """2026-11-08 COMPLETE orders
           2026-11-10 COMPLETE orders<2026-11-08,2026-11-10""",
        """2026-11-08 NEEDED
           2026-11-10 MINIMUM NEWEST""",
    ),
    "a set that stays for one table keeps the chains of its others, until all are full exports": (
        policy(1, 1),
        """2026-11-01 COMPLETE orders users
           2026-11-02 COMPLETE orders<2026-11-01 users<2026-11-01
           2026-11-08 COMPLETE orders users
           2026-11-09 PARTIAL users<2026-11-08
           2026-11-10 COMPLETE orders users<2026-11-08,2026-11-09
           2026-11-20 COMPLETE orders<2026-11-10""",
        """2026-11-01 expired
           2026-11-02 expired
           2026-11-08 NEEDED
           2026-11-09 NEEDED
           2026-11-10 NEWEST NEEDED
           2026-11-20 WITHIN_DAYS MINIMUM NEWEST""",
    ),
    "what an open set builds on stays": (
        policy(1, 0),
        """2026-11-01 COMPLETE orders
           2026-11-02 COMPLETE orders
           2026-11-10 OPEN orders<2026-11-01
           2026-11-20 COMPLETE orders""",
        """2026-11-01 NEEDED
           2026-11-02 expired
           2026-11-10 OPEN
           2026-11-20 WITHIN_DAYS NEWEST""",
    ),
    "a broken chain is no good set: the newest whole one stays too, for the table and for the minimum": (
        policy(1, 1, daily=1),
        """2026-11-01 COMPLETE orders users
           2026-11-02 COMPLETE orders users
           2026-11-10 COMPLETE orders<2026-11-09 users
           2026-11-11 COMPLETE orders<2026-11-09 users""",
        """2026-11-01 expired
           2026-11-02 MINIMUM NEWEST
           2026-11-10 expired
           2026-11-11 DAILY MINIMUM NEWEST""",
    ),
    "a broken chain may be mended: the newest set stays for the table as well as the newest whole one": (
        policy(1, 0),
        """2026-11-01 PARTIAL orders
           2026-11-02 PARTIAL orders
           2026-11-10 PARTIAL orders<2026-11-09
           2026-11-11 PARTIAL orders<2026-11-09""",
        """2026-11-01 expired
           2026-11-02 NEWEST
           2026-11-10 expired
           2026-11-11 NEWEST""",
    ),
    "a chain with a gap is broken too, although all its sets are there": (
        policy(1, 1, monthly=1),
        """2026-11-01 COMPLETE orders users
           2026-11-02 COMPLETE orders users
           2026-11-10 COMPLETE !orders<2026-11-01 users
           2026-11-11 PARTIAL !orders<2026-11-10 users""",
        """2026-11-01 NEEDED
           2026-11-02 MONTHLY MINIMUM NEWEST
           2026-11-10 MINIMUM NEEDED
           2026-11-11 NEWEST""",
    ),
    "taken right now is not the future": (
        policy(3),
        """2026-01-01 COMPLETE orders
           2026-11-21T030000Z COMPLETE orders""",
        """2026-01-01 expired
           2026-11-21T030000Z WITHIN_DAYS MINIMUM NEWEST""",
    ),
    "dated in the future: stays, and takes no other one's place": (
        policy(3, 1, daily=1),
        """2026-01-01 COMPLETE orders
           2026-01-02 COMPLETE orders
           2026-11-21T030001Z COMPLETE orders
           2026-11-22 COMPLETE orders
           2099-01-01 UNFINISHED""",
        """2026-01-01 expired
           2026-01-02 DAILY MINIMUM NEWEST
           2026-11-21T030001Z WITHIN_DAYS FUTURE
           2026-11-22 WITHIN_DAYS FUTURE
           2099-01-01 WITHIN_DAYS FUTURE""",
    ),
    "names that are no date stay, and take no other one's place": (
        policy(3, 1, yearly=3),
        """0000-01-01 COMPLETE orders
           2026-01-02 COMPLETE orders
           2026-02-30 COMPLETE orders
           2026-03-01T250000Z COMPLETE orders
           9999-12-31 COMPLETE orders
           orders COMPLETE orders""",
        """0000-01-01 UNDATED
           2026-01-02 YEARLY MINIMUM NEWEST
           2026-02-30 UNDATED
           2026-03-01T250000Z UNDATED
           9999-12-31 UNDATED
           orders UNDATED""",
    ),
    "daily: the last of each of the newest days that have one, by hand or not": (
        policy(0, 0, daily=2),
        """2026-11-10 COMPLETE orders
           2026-11-15 COMPLETE orders
           2026-11-15T090000Z COMPLETE orders
           2026-11-20 COMPLETE orders""",
        """2026-11-10 expired
           2026-11-15 expired
           2026-11-15T090000Z DAILY
           2026-11-20 DAILY NEWEST""",
    ),
    "a set by hand of a few tables takes no other table's place in its day, month and year": (
        policy(0, 1, daily=2, monthly=2, yearly=1),
        """2026-10-01 COMPLETE orders users
           2026-10-31 COMPLETE orders users
           2026-10-31T180000Z COMPLETE orders
           2026-11-19 COMPLETE orders users
           2026-11-20 COMPLETE orders users
           2026-11-20T120000Z COMPLETE users
           2026-11-20T180000Z COMPLETE users""",
        """2026-10-01 expired
           2026-10-31 MONTHLY
           2026-10-31T180000Z MONTHLY
           2026-11-19 DAILY
           2026-11-20 DAILY MONTHLY YEARLY NEWEST
           2026-11-20T120000Z expired
           2026-11-20T180000Z DAILY MONTHLY YEARLY MINIMUM NEWEST""",
    ),
    "a table that was given up stands for the months in which it was there": (
        policy(0, 0, monthly=2),
        """2026-10-10 COMPLETE orders gone
           2026-10-11 COMPLETE orders gone
           2026-10-31 COMPLETE orders
           2026-11-20 COMPLETE orders""",
        """2026-10-10 expired
           2026-10-11 MONTHLY NEWEST
           2026-10-31 MONTHLY
           2026-11-20 MONTHLY NEWEST""",
    ),
    "a COMPLETE set stands for its period before a later PARTIAL one": (
        policy(0, 0, monthly=2),
        """2026-10-01 PARTIAL orders
           2026-10-02 PARTIAL orders
           2026-11-01 COMPLETE orders
           2026-11-02 COMPLETE orders
           2026-11-03 PARTIAL orders""",
        """2026-10-01 expired
           2026-10-02 MONTHLY
           2026-11-01 expired
           2026-11-02 MONTHLY
           2026-11-03 NEWEST""",
    ),
    "a PARTIAL set in which nothing completed stands for no period": (
        policy(0, 0, monthly=1),
        """2026-10-02 PARTIAL orders
           2026-11-03 PARTIAL""",
        """2026-10-02 MONTHLY NEWEST
           2026-11-03 expired""",
    ),
    "weeks are ISO weeks, also around the new year": (
        policy(0, 0, weekly=2, yearly=2),
        """2025-12-28 COMPLETE orders
           2025-12-29 COMPLETE orders
           2026-01-04 COMPLETE orders
           2026-01-05 COMPLETE orders""",
        """2025-12-28 expired
           2025-12-29 YEARLY
           2026-01-04 WEEKLY
           2026-01-05 WEEKLY YEARLY NEWEST""",
    ),
    "all counts together": (
        policy(0, 0, daily=1, weekly=2, monthly=2, yearly=2),
        """2024-06-01 COMPLETE orders
           2025-06-01 COMPLETE orders
           2026-10-30 COMPLETE orders
           2026-11-13 COMPLETE orders
           2026-11-19 COMPLETE orders
           2026-11-20 COMPLETE orders""",
        """2024-06-01 expired
           2025-06-01 YEARLY
           2026-10-30 MONTHLY
           2026-11-13 WEEKLY
           2026-11-19 expired
           2026-11-20 DAILY WEEKLY MONTHLY YEARLY NEWEST""",
    ),
    "of a day's set and one of that day by hand nobody knows which is newer": (
        policy(0, 0),
        """2026-11-01 COMPLETE orders
           2026-11-01T090000Z COMPLETE orders
           2026-11-01T120000Z COMPLETE orders""",
        """2026-11-01 NEWEST
           2026-11-01T090000Z expired
           2026-11-01T120000Z NEWEST""",
    ),
}
