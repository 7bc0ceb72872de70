"""VERIFYING, one table per shard: what every data file's line count became, against what the export recorded.

Reads the ledger's shards only, and leaves one line per data file in the bucket as the restore's proof.
"""

import msgspec

from chalicelib.backup import layout
from chalicelib.restore.model import Job, Kind, Shard, Stage, Table
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings


def verify_table(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    balanced = unbalanced = 0
    lines = []
    for load in around.records.shards(job.restore_id, Kind.LOAD, table.number):
        for file, checkpoint in zip(load.planned_files(), load.file_checkpoints(), strict=True):
            is_balanced = load.stage is Stage.DONE and checkpoint.verified and checkpoint.accounted == file.item_count
            balanced += is_balanced
            unbalanced += not is_balanced
            lines.append(
                msgspec.json.encode(
                    {
                        "data_file": file.key,
                        "item_count": file.item_count,
                        "balanced": is_balanced,
                        "written": checkpoint.written,
                        "unchanged": checkpoint.unchanged,
                        "skipped": checkpoint.skipped,
                        "deleted": checkpoint.deleted,
                        "rejected": checkpoint.rejected,
                        "filtered": checkpoint.filtered,
                        "failure": load.reason if load.stage is Stage.FAILED else None,
                    }
                )
            )
    around.s3.put_object(
        Bucket=job.bucket,
        Key=layout.data_file_results_key(job.restore_id, table.source),
        Body=b"".join(line + b"\n" for line in lines),
        ContentType="application/x-ndjson",
    )
    return Ended(table_set={"balanced": balanced, "unbalanced": unbalanced})
