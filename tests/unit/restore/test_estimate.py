"""Estimates: what is consumed, what it costs, and which limit decides how long it takes."""

from typing import Any

import msgspec
import pytest

from chalicelib.restore.datapath.survey import SurveyTotals
from chalicelib.restore.estimate import Demand, estimate, estimate_of
from chalicelib.restore.model import Comparison, Job, Mode, Status, Table
from chalicelib.restore.target import TargetFacts, TargetIndex
from chalicelib.settings import RequestPrices

NEW = TargetFacts(
    table_name="orders", region="us-east-1", key_names=("pk",), attribute_types={"pk": "S", "a": "S"}, is_new=True
)
MILLION = SurveyTotals(items=1_000_000, item_bytes=500_000_000, write_units=1_000_000, read_units=1_000_000)
DEMAND = Demand(data_files=64, max_workers=5)


def facts(**changes: Any) -> TargetFacts:
    return msgspec.structs.replace(NEW, **changes)


def index(**changes: Any) -> TargetIndex:
    return TargetIndex(**{"name": "by_a", "is_local": False, "key_names": ("a",), **changes})


def demand(**changes: Any) -> Demand:
    return Demand(**{"data_files": 64, "max_workers": 5, **changes})


def test_a_million_small_items_into_a_new_table():
    found = estimate(NEW, MILLION, DEMAND)
    assert (found.items, found.write_units, found.read_units) == (1_000_000, 1_000_000, 0)
    assert found.usd == 0.625
    assert (found.expected_s, found.limited_by, found.warm_write_units_per_s) == (250, "warm_throughput", 4_000)
    assert found.price_basis.startswith("list prices of us-east-1")


def test_indexes_are_paid_and_have_capacity_of_their_own():
    totals = msgspec.structs.replace(MILLION, index_write_units=2_000_000)
    found = estimate(facts(indexes=(index(), index(name="by_b"))), totals, DEMAND)
    assert (found.write_units, found.usd) == (3_000_000, 1.875)
    assert found.expected_s == 250
    local = estimate(facts(indexes=(index(is_local=True), index(is_local=True, name="b"))), totals, DEMAND)
    assert local.expected_s == 750


LIMITS: dict[str, tuple[TargetFacts, Demand, int]] = {
    "max_write_units": (NEW, demand(max_write_units=100), 10_000),
    "provisioned_capacity": (facts(is_on_demand=False, provisioned_write_units=50), DEMAND, 20_000),
    "warm_throughput": (facts(is_new=False, warm_write_units_per_s=20_500), DEMAND, 49),
    "maximum_throughput": (facts(most_write_units_per_s=10), DEMAND, 100_000),
    "partitions": (facts(is_new=False, warm_write_units_per_s=40_000), demand(data_files=2), 500),
    "workers": (facts(is_new=False, warm_write_units_per_s=64_000), demand(mode=Mode.MISSING_ONLY, max_workers=1), 250),
}


@pytest.mark.parametrize(("name", "limit"), LIMITS.items(), ids=LIMITS)
def test_the_slowest_limit_decides(name, limit):
    of, asked, seconds = limit
    found = estimate(of, MILLION, asked)
    assert (found.limited_by, found.expected_s) == (name, seconds)
    assert found.limits_s[name] == max(found.limits_s.values())


def test_a_slow_index_slows_the_table():
    provisioned = {"is_on_demand": False, "provisioned_write_units": 1_000}
    totals = msgspec.structs.replace(MILLION, index_write_units=1_000_000)
    slow = facts(**provisioned, indexes=(index(provisioned_write_units=10),))
    found = estimate(slow, totals, DEMAND)
    assert (found.limited_by, found.expected_s) == ("index_capacity", 100_000)


def test_without_a_warm_throughput_the_data_files_tell_the_partitions():
    found = estimate(facts(is_new=False), MILLION, demand(data_files=5, max_workers=64))
    assert (found.partitions, found.limited_by, found.expected_s) == (5, "partitions", 200)


def test_provisioned_capacity_costs_nothing_more():
    found = estimate(facts(is_on_demand=False, provisioned_write_units=50), MILLION, DEMAND)
    assert found.usd == 0.0
    assert any("paid by the hour" in text for text in found.assumptions)


def test_changed_only_reads_every_item_first_and_so_does_a_full_comparison():
    found = estimate(NEW, MILLION, demand(mode=Mode.CHANGED_ONLY))
    assert (found.read_units, found.usd) == (1_000_000, 0.75)
    both = estimate(NEW, MILLION, demand(mode=Mode.CHANGED_ONLY, comparison=Comparison.FULL))
    assert both.read_units == 2_000_000


def test_clearing_is_paid_as_scans_and_deletes():
    full = facts(is_new=False, warm_write_units_per_s=4_000, item_count=1000, table_bytes=4_096_000, indexes=(index(),))
    found = estimate(full, SurveyTotals(), demand(clears=True))
    assert (found.clearing_write_units, found.write_units, found.read_units) == (5_000, 5_000, 1_000)
    assert found.expected_s > 0


def test_replicas_are_paid_too():
    assert estimate(facts(replica_regions=("eu-west-1", "eu-west-2")), MILLION, DEMAND).usd == 1.875


def test_the_settings_prices_count():
    assert estimate(facts(prices=RequestPrices(2.0, 1.0)), MILLION, DEMAND).usd == 2.0


def test_nothing_to_write_takes_no_time():
    found = estimate(NEW, SurveyTotals(), Demand(data_files=0, max_workers=5))
    assert (found.expected_s, found.limited_by, found.usd) == (0, None, 0.0)


def rows(**changes: Any) -> tuple[Job, Table]:
    job = Job(
        restore_id="r",
        status=Status.CHECKING,
        created_at_ms=0,
        moved_at_ms=0,
        bucket="b",
        exports_prefix="p",
        backup_date="2026-11-21",
        dry_run=True,
        clear_existing_data=False,
        safety_backup=False,
        max_workers=5,
        table_count=1,
        targets=[],
        requested_by="tests",
        max_write_units=100,
    )
    table = Table(
        source="orders",
        target="orders",
        number=0,
        item_count=10,
        definition_key="d",
        data_files=4,
        checking_ended=1,
        target_facts=NEW.encode(),
        survey_items=10,
        survey_write_units=1_000,
    )
    return job, msgspec.structs.replace(table, **changes)


def test_a_dry_run_that_has_read_everything_says_its_estimate_in_plain_json():
    found = estimate_of(*rows())
    assert found is not None
    assert (found["items"], found["write_units"], found["limited_by"], found["expected_s"]) == (
        10,
        1_000,
        "max_write_units",
        10,
    )
    assert msgspec.json.decode(msgspec.json.encode(found))["limits_s"] == found["limits_s"]


@pytest.mark.parametrize("changes", [{"checking_ended": 0}, {"target_facts": None}])
def test_there_is_no_estimate_before_all_is_known(changes):
    assert estimate_of(*rows(**changes)) is None


def test_only_a_dry_run_estimates():
    job, table = rows()
    assert estimate_of(msgspec.structs.replace(job, dry_run=False), table) is None
