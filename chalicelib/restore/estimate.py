"""What a restore will cost and how long it will take, from what a dry run surveyed and what its target is. Pure.

Nothing here is measured: each limit alone gives a time, and the longest is the estimate. Throttling on the way to the
limit, cold starts and the minutes that on-demand capacity takes to grow beyond what is warm are not in it.
"""

import math
from typing import Any

import msgspec

from chalicelib.restore.datapath.item_size import READ_UNIT_BYTES, WRITE_UNIT_BYTES
from chalicelib.restore.datapath.survey import SurveyTotals
from chalicelib.restore.model import Comparison, Job, Mode, Status, Table
from chalicelib.restore.prices import AS_OF, SOURCE_URL, quote
from chalicelib.restore.target import TargetFacts, TargetIndex, decode_facts

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput-scenarios.html
PARTITION_WRITE_UNITS_PER_S = 1_000
# "You can get throughput of 4,000 write units": a new on-demand table, and each of its indexes
# (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html).
NEW_ON_DEMAND_WRITE_UNITS_PER_S = 4_000
# A partition holds about 10 GB:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
PARTITION_BYTES = 10 * 10**9
# What one worker sends where nothing else is in its way: half of what benchmarks/ measures at 8 ms and without TLS.
WORKER_ITEMS_PER_S = {Mode.OVERWRITE: 40_000, Mode.MISSING_ONLY: 4_000, Mode.CHANGED_ONLY: 10_000}
WORKER_BYTES_PER_S = 50 * 10**6


class Demand(msgspec.Struct, frozen=True):
    """What is asked for, beside the items. `data_files`: how many the table's backup has."""

    data_files: int
    max_workers: int
    mode: Mode = Mode.OVERWRITE
    max_write_units: int | None = None
    clears: bool = False
    comparison: Comparison = Comparison.NONE


class Estimate(msgspec.Struct, frozen=True):
    """`write_units`: all that are consumed, of the table, its indexes and of clearing; `index_write_units` and
    `clearing_write_units` are among them. `usd` is what comes on top of what is paid anyway: nothing with provisioned
    capacity. `limits_s`: the seconds it would take with each limit alone; `limited_by` is the longest."""

    items: int
    item_bytes: int
    write_units: int
    index_write_units: int
    clearing_write_units: int
    read_units: int
    usd: float
    write_usd_per_million: float
    read_usd_per_million: float
    price_basis: str
    price_source: str
    prices_as_of: str
    expected_s: int
    limited_by: str | None
    limits_s: dict[str, int]
    warm_write_units_per_s: int | None
    partitions: int
    assumptions: tuple[str, ...]


def estimate_of(job: Job, table: Table) -> dict[str, Any] | None:
    """For the API and the receipt: an estimate as plain JSON. None but for a dry run that has read all of the table."""
    is_surveyed = table.phase(Status.CHECKING).remaining == 0
    if not job.dry_run or table.target_facts is None or not is_surveyed:
        return None
    totals = SurveyTotals(**{name: getattr(table, f"survey_{name}") for name in SurveyTotals.__struct_fields__})
    demand = Demand(
        data_files=table.data_files,
        max_workers=job.max_workers,
        mode=job.mode,
        max_write_units=job.max_write_units,
        clears=job.clear_existing_data,
        comparison=job.comparison,
    )
    return msgspec.structs.asdict(estimate(decode_facts(table.target_facts), totals, demand))


def estimate(facts: TargetFacts, totals: SurveyTotals, demand: Demand) -> Estimate:
    units = _Units.of(facts, totals, demand)
    limits_s = _limits(facts, totals, demand, units)
    slowest = max(limits_s, key=lambda name: limits_s[name], default=None)
    prices = quote(facts.region, facts.table_class, facts.prices)
    copies = 1 + len(facts.replica_regions)
    usd = (units.written * copies * prices.write_usd_per_million + units.read * prices.read_usd_per_million) / 1_000_000
    return Estimate(
        items=totals.items,
        item_bytes=totals.item_bytes,
        write_units=units.written,
        index_write_units=totals.index_write_units,
        clearing_write_units=units.cleared + units.cleared_indexes,
        read_units=units.read,
        usd=round(usd, 4) if facts.is_on_demand else 0.0,
        write_usd_per_million=prices.write_usd_per_million,
        read_usd_per_million=prices.read_usd_per_million,
        price_basis=prices.basis,
        price_source=SOURCE_URL,
        prices_as_of=AS_OF,
        expected_s=math.ceil(limits_s[slowest]) if slowest else 0,
        limited_by=slowest,
        limits_s={name: math.ceil(seconds) for name, seconds in limits_s.items()},
        warm_write_units_per_s=_warm(facts),
        partitions=_partitions(facts, totals, demand),
        assumptions=tuple(_assumptions(facts, demand)),
    )


class _Units(msgspec.Struct, frozen=True):
    """Write units by what consumes them, and all read units."""

    table: int
    indexes: int
    cleared: int
    cleared_indexes: int
    read: int

    @property
    def written(self) -> int:
        return self.table + self.indexes + self.cleared + self.cleared_indexes

    @classmethod
    def of(cls, facts: TargetFacts, totals: SurveyTotals, demand: Demand) -> "_Units":
        read = totals.read_units if demand.mode is Mode.CHANGED_ONLY else 0
        read += totals.read_units if demand.comparison is Comparison.FULL else 0
        cleared = 0
        if demand.clears:
            # Keys only, but a scan consumes by the size of what it passes over, consistently.
            read += -(-facts.table_bytes // READ_UNIT_BYTES)
            cleared = max(facts.item_count, -(-facts.table_bytes // WRITE_UNIT_BYTES))
        items_cleared = facts.item_count * len(facts.indexes) if demand.clears else 0
        return cls(totals.write_units, totals.index_write_units, cleared, items_cleared, read)


def _limits(facts: TargetFacts, totals: SurveyTotals, demand: Demand, units: _Units) -> dict[str, float]:
    """The seconds each limit alone would take."""
    of_indexes = units.indexes + units.cleared_indexes
    globals_ = [index for index in facts.indexes if not index.is_local]
    of_one_index = of_indexes / len(facts.indexes) if facts.indexes else 0.0
    of_table = units.table + units.cleared + of_indexes - of_one_index * len(globals_)
    limits = {name: of_table / units_per_s for name, units_per_s in _table_limits(facts).items()}
    index_units_per_s = [_index_limit(facts, index) for index in globals_]
    slowest = min((limit for limit in index_units_per_s if limit is not None), default=None)
    if slowest is not None:
        limits["index_warm_throughput" if facts.is_on_demand else "index_capacity"] = of_one_index / slowest
    if demand.max_write_units is not None:
        limits["max_write_units"] = units.written / demand.max_write_units
    limits["partitions"] = of_table / (PARTITION_WRITE_UNITS_PER_S * _partitions(facts, totals, demand))
    limits["workers"] = _worker_s(totals, demand)
    return {name: seconds for name, seconds in limits.items() if seconds > 0}


def _table_limits(facts: TargetFacts) -> dict[str, int]:
    if not facts.is_on_demand:
        units = facts.provisioned_write_units
        return {} if units is None else {"provisioned_capacity": units}
    limits = {"warm_throughput": _warm(facts), "maximum_throughput": facts.most_write_units_per_s}
    return {name: units for name, units in limits.items() if units is not None}


def _index_limit(facts: TargetFacts, index: TargetIndex) -> int | None:
    if not facts.is_on_demand:
        return index.provisioned_write_units
    return NEW_ON_DEMAND_WRITE_UNITS_PER_S if facts.is_new else index.warm_write_units_per_s


def _warm(facts: TargetFacts) -> int | None:
    """What the table takes at once; None where DescribeTable does not say."""
    if not facts.is_new:
        return facts.warm_write_units_per_s
    return NEW_ON_DEMAND_WRITE_UNITS_PER_S if facts.is_on_demand else facts.provisioned_write_units


def _partitions(facts: TargetFacts, totals: SurveyTotals, demand: Demand) -> int:
    """Those the load is spread over. The target has as many as its warm throughput and its size need; a data file holds
    what was one partition's of the source (an export writes at least one for each), so there are no more than files."""
    warm = _warm(facts)
    size_bytes = max(totals.item_bytes, facts.table_bytes)
    needed = max(-(-(warm or 0) // PARTITION_WRITE_UNITS_PER_S), -(-size_bytes // PARTITION_BYTES), 1)
    files = max(demand.data_files, 1)
    return files if warm is None else min(needed, files)


def _worker_s(totals: SurveyTotals, demand: Demand) -> float:
    workers = max(1, min(demand.max_workers, demand.data_files))
    items_s = totals.items / WORKER_ITEMS_PER_S[demand.mode]
    return max(items_s, totals.item_bytes / WORKER_BYTES_PER_S) / workers


def _assumptions(facts: TargetFacts, demand: Demand) -> list[str]:
    said = ["each item is written as if none with its key were there before; an item it replaces can cost more"]
    if demand.mode is Mode.CHANGED_ONLY:
        said.append("every item differs and is written; those that are equal cost only their reads")
    if demand.mode is Mode.MISSING_ONLY:
        said.append("a put whose item is there already consumes write units too")
    if demand.clears:
        said.append(f"clearing deletes the {facts.item_count} items DynamoDB counted within the last six hours")
    if not facts.is_on_demand:
        said.append("provisioned capacity is paid by the hour, used or not: the restore adds nothing to its price")
    if facts.replica_regions:
        said.append(f"each write is paid in {', '.join(facts.replica_regions)} too, reckoned at this region's price")
    if facts.indexes:
        said.append("the units of the indexes are spread evenly over them")
    return said
