"""The digest of a plan: what a dry run showed and a restore is held to.

Over everything that decides what would be written where: what was asked for, which data files of which exports with
which content, and how the targets are made. Pure. Not in it: how many workers there are, how fast they may write, and
what stands in the targets, which is no part of a plan.
"""

import hashlib
import json
from collections.abc import Sequence

from chalicelib.restore.model import Job, Table


def plan_digest(job: Job, tables: Sequence[Table]) -> str | None:
    """64 hexadecimal digits; None as long as CHECKING has not seen every table."""
    if any(table.plan_digest is None or table.target_digest is None for table in tables):
        return None
    asked = [
        job.backup_date,
        job.mode.value,
        job.clear_existing_data,
        job.create_missing_tables,
        job.safety_backup,
        job.keys_digest,
    ]
    parts = sorted([table.source, table.target, str(table.plan_digest), str(table.target_digest)] for table in tables)
    return hashlib.sha256(json.dumps([asked, parts]).encode()).hexdigest()
