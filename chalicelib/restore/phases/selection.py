"""Which lines of a shard's data files are acted on: all; those of the asked keys; of a chain that is resolved only
those that have the last word on their key.

What it takes to know that is made once and kept for the next shards of the same table: the table's definition, the
asked keys, the index of the chain.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from chalicelib.backup.definition import TableDefinition, read_definition
from chalicelib.errors import LedgerRowsLost
from chalicelib.restore import asked_keys
from chalicelib.restore.datapath.chain_index import ChainFilter, ChainIndex, build_chain_index
from chalicelib.restore.datapath.data_file import DataFile
from chalicelib.restore.datapath.keys import KeySchema, key_of
from chalicelib.restore.datapath.lines import lines_of
from chalicelib.restore.datapath.reader import Batch, DataFileReader, LineFilter
from chalicelib.restore.datapath.search import KeySearch
from chalicelib.restore.datapath.survey import Survey
from chalicelib.restore.model import Job, LineKind, PlannedFile, Shard, Table
from chalicelib.restore.phases.checking import look_at_target
from chalicelib.restore.phases.passage import data_file_of
from chalicelib.restore.target import TargetFacts
from chalicelib.restore.work import Invocation, Surroundings, backoff

Observe = Callable[[int, Sequence[bytes]], None]


class Selection:
    """`is_final`: of a chain only the last word on a key, also where all of it was written in turn.

    Its methods raise what `DataFileReader`, `read_definition` and `asked_keys.read` raise.
    """

    def __init__(
        self, around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard, *, is_final: bool = False
    ) -> None:
        self._around = around
        self._run = run
        self._job = job
        self._table = table
        self._shard = shard
        self._wants_last_words = job.resolves_chains or is_final
        self._lines = lines_of(shard.line_kind)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The partition key first."""
        return self._schema.names

    @property
    def facts(self) -> TargetFacts | None:
        """What a survey needs to know of the target; None where there is none to restore into."""

        def look() -> TargetFacts | None:
            return look_at_target(self._around, self._job, self._table, self._definition).facts

        return self._around.kept.get("facts", (self._job.restore_id, self._table.number), look)

    @cached_property
    def is_resolved(self) -> bool:
        """Whether only the last words on keys are acted on, of a chain of several exports."""
        return self._wants_last_words and self.record_count > 0

    @cached_property
    def record_count(self) -> int:
        """How many records the increments of the table have: what an index of all their keys would hold."""

        def count() -> int:
            links = self._around.records.links(self._job.restore_id, self._table.number)
            return sum(link.item_count for link in links[1:])

        return self._around.kept.get("records", (self._job.restore_id, self._table.number), count)

    def prepare(self, turn: int = 0, turns: int = 1) -> None:
        """Makes what takes long, the index of a chain, before anything is done with it."""
        if self.is_resolved:
            self._index(turn, turns)

    def batches(self, file: PlannedFile, from_line: int) -> Iterator[Batch]:
        retry = backoff(self._around, self._run.give_up_ms)
        reader = DataFileReader(self._around.s3, self._job.bucket, data_file_of(file), retry=retry)
        line_filter = self._filter(file)
        return reader.batches(from_line) if line_filter is None else reader.matches(line_filter, from_line)

    def observer(self, file: PlannedFile, survey: Survey, found: set[int]) -> Observe:
        """Takes a survey of the lines that would be acted on; the positions of the asked keys go into `found`."""
        line_filter = self._filter(file)
        if line_filter is None:
            return survey.take

        def observe(first_line: int, lines: Sequence[bytes]) -> None:
            for index in line_filter.pick([line + b"\n" for line in lines]).wanted:
                survey.take(first_line + index, lines[index : index + 1])
                found.update(self._found((lines[index],)))

        return observe

    def found(self, batch: Batch) -> set[int]:
        """The positions of the asked keys that a batch has items of; a removal is none."""
        return self._found(batch.lines)

    def _found(self, lines: Sequence[bytes]) -> set[int]:
        search = self._search
        if search is None:
            return set()
        places = {search.place_of(line) for line in lines if self._is_item(line)}
        return {place for place in places if place is not None}

    def _is_item(self, line: bytes) -> bool:
        try:
            return self._lines.raw_put(line) is not None
        except ValueError:
            return False

    # --- what decides ------------------------------------------------------------------------------------------

    def _filter(self, file: PlannedFile) -> LineFilter | None:
        if not self.is_resolved:
            return self._search
        index = self._index(file.turn, file.turns)
        kind, link = self._shard.line_kind, self._shard.link
        return ChainFilter(index, self._schema, kind, link, turn=file.turn, search=self._search)

    @cached_property
    def _definition(self) -> TableDefinition:
        key = (self._job.restore_id, self._table.number)
        bucket, name = self._job.bucket, self._table.definition_key
        return self._around.kept.get("definition", key, lambda: read_definition(self._around.s3, bucket, name))

    @cached_property
    def _schema(self) -> KeySchema:
        return KeySchema.of(self._definition)

    @cached_property
    def _search(self) -> KeySearch | None:
        return self._search_of(self._shard.line_kind)

    def _search_of(self, line_kind: LineKind) -> KeySearch | None:
        if not self._job.key_count:
            return None
        key = self._job.restore_id
        asked = self._around.kept.get("asked keys", key, lambda: asked_keys.read(self._around.s3, self._job))
        return KeySearch(self._schema, [key_of(self._schema, each) for each in asked], line_kind)

    def _index(self, turn: int, turns: int) -> ChainIndex:
        key = (self._job.restore_id, self._table.number, turn, turns)
        return self._around.kept.get("chain index", key, lambda: self._build_index(turn, turns))

    def _build_index(self, turn: int, turns: int) -> ChainIndex:
        return build_chain_index(
            self._around.s3,
            self._job.bucket,
            self._increments(),
            self._schema,
            turn=turn,
            turns=turns,
            search=self._search_of(LineKind.RECORD),
            retry=backoff(self._around, self._run.give_up_ms),
        )

    def _increments(self) -> Iterator[tuple[int, DataFile]]:
        """Every data file of every increment, whole, as it was pinned in planning. Raises LedgerRowsLost: by an index
        that lacks keys, older items would be taken for the last."""
        found = 0
        for shard in self._around.records.increments(self._job.restore_id, self._table.number):
            for file in shard.planned_files():
                if file.turn == 0 and file.first_line == 0:
                    found += file.item_count
                    yield shard.link, DataFile(file.key, file.etag, file.size_bytes, file.md5, file.item_count)
        if found != self.record_count:
            text = f"the ledger has data files with {found} of the {self.record_count} records of the increments"
            raise LedgerRowsLost(f"{text} of {self._table.source}: ask again")
