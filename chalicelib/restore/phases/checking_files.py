"""CHECKING, per load shard: whether its data files are what the export recorded.

A data file whose ETag is still the one the export recorded is unchanged; any other (a bucket that was copied, KMS) is
read to its end and its MD5 compared. A dry run reads every file to its end, and surveys what would be written.
"""

from collections.abc import Sequence

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import error_text, is_transient
from chalicelib.errors import OutOfTime, Unavailable
from chalicelib.restore.datapath.reader import verify_data_file
from chalicelib.restore.datapath.survey import Survey, SurveyTotals
from chalicelib.restore.model import Job, Note, PlannedFile, Shard, Table
from chalicelib.restore.phases.passage import data_file_of, untouched
from chalicelib.restore.phases.selection import Selection
from chalicelib.restore.target import survey_notes
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded, backoff, outage_pause_ms


class CheckState(msgspec.Struct, frozen=True):
    """The checkpoint of a shard in CHECKING: how many of its files are checked, and what was found in them."""

    files: int = 0
    read: int = 0
    uncompressed_bytes: int = 0
    survey: SurveyTotals = SurveyTotals()
    found: tuple[int, ...] = ()
    notes: list[tuple[str, str]] = []

    @classmethod
    def decode(cls, text: str | None) -> "CheckState":
        return msgspec.json.decode(text, type=cls) if text else cls()

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


def check_files(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    """Data files of one load shard, from the first one not yet checked."""
    check = _Check(around, run, job, table, shard)
    files = shard.planned_files()
    state = CheckState.decode(shard.checkpoint)
    begun = state.files
    for file in files[state.files :]:
        if around.clock() >= run.soft_stop_ms:
            return Yielded(state.encode(), progressed=state.files > begun, in_good_order=True)
        try:
            state = check.file(file, state)
        except (OutOfTime, Unavailable) as error:
            progressed = state.files > begun
            pause_ms = 0 if progressed else outage_pause_ms(shard)
            return Yielded(
                state.encode(), progressed=progressed, reason=error.message, pause_ms=pause_ms, in_good_order=True
            )
    return _ended(files, state)


def _ended(files: Sequence[PlannedFile], state: CheckState) -> Ended:
    notes = tuple(Note(level, text) for level, text in state.notes)
    counts: dict[str, int | set[int]] = {
        "data_files_read": state.read,
        "uncompressed_bytes": state.uncompressed_bytes,
        **{f"survey_{name}": count for name, count in msgspec.structs.asdict(state.survey).items() if count},
    }
    if state.found:
        counts["found_keys"] = set(state.found)
    return Ended(
        failure="data files are damaged" if any(note.level == "blocker" for note in notes) else None,
        checkpoint=msgspec.json.encode(untouched(files)).decode(),
        table_add=counts,
        notes=notes,
    )


class _Check:
    def __init__(self, around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> None:
        self._around = around
        self._run = run
        self._job = job
        self._table = table
        self._shard = shard
        self._selection = Selection(around, run, job, table, shard)

    def file(self, file: PlannedFile, state: CheckState) -> CheckState:
        """Raises OutOfTime and Unavailable, which say nothing about the file."""
        is_repeated = file.turn > 0  # what it holds is known from the first turn
        if not self._job.dry_run and (is_repeated or not file.content_check):
            notes = [*state.notes, *self._readability(file)]
            return msgspec.structs.replace(state, files=state.files + 1, notes=notes)
        survey = self._survey() if self._job.dry_run else None
        found: set[int] = set()
        observe = None
        if survey is not None:
            observe = self._selection.observer(file, survey, found)
        retry = backoff(self._around, self._run.give_up_ms)
        findings = verify_data_file(self._around.s3, self._job.bucket, data_file_of(file), observe=observe, retry=retry)
        notes = list(state.notes)
        if findings.damage:
            notes.append(("blocker", f"{self._table.source}: data file {file.key}: {findings.damage}"))
        if survey is not None:
            told = survey_notes(self._table.target, survey.totals.findings, survey.first_lines)
            notes += [(note.level, f"{self._table.source}: data file {file.key}: {note.text}") for note in told]
        return msgspec.structs.replace(
            state,
            files=state.files + 1,
            read=state.read + (file.first_line == 0 and not is_repeated),
            uncompressed_bytes=state.uncompressed_bytes + (0 if is_repeated else findings.uncompressed_bytes),
            survey=state.survey + survey.totals if survey is not None else state.survey,
            found=tuple(sorted({*state.found, *found})),
            notes=notes,
        )

    def _survey(self) -> Survey | None:
        """None where there is no target to survey for: the check of the target says why."""
        facts = self._selection.facts
        return None if facts is None else Survey(self._shard.line_kind, facts, self._around.clock())

    def _readability(self, file: PlannedFile) -> list[tuple[str, str]]:
        """A blocker when one byte of the file cannot be had: denied, a key that is gone, changed since it was listed.

        Only before clearing: what is removed there must not depend on a permission nobody tried.
        """
        if not self._job.clear_existing_data:
            return []
        request = {"Bucket": self._job.bucket, "Key": file.key, "IfMatch": f'"{file.etag}"', "Range": "bytes=0-0"}
        try:
            self._around.s3.get_object(**request)["Body"].read()
        except ClientError as error:
            if is_transient(error):
                raise
            return [("blocker", f"{self._table.source}: data file {file.key} cannot be read: {error_text(error)}")]
        return []
