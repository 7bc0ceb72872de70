import pytest

from chalicelib.errors import InvalidRequest
from chalicelib.restore.requests import RestoreRequest, parse_restore_request


def faults_of(body) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as raised:
        parse_restore_request(body)
    return {fault.path: fault.message for fault in raised.value.faults}


@pytest.mark.parametrize("body", [None, {}])
def test_every_field_has_a_default(body):
    assert parse_restore_request(body) == RestoreRequest()


def test_a_full_request_is_read():
    body = {
        "backup_date": "2026-11-21T101500Z",
        "tables": ["orders", "users"],
        "target_tables": {"orders": "orders-restored"},
        "dry_run": True,
        "clear_existing_data": True,
        "create_missing_tables": True,
        "max_write_units": 1,
        "max_workers": 1000,
        "safety_backup": False,
    }
    assert parse_restore_request(body) == RestoreRequest(
        backup_date="2026-11-21T101500Z",
        tables=("orders", "users"),
        target_tables={"orders": "orders-restored"},
        dry_run=True,
        clear_existing_data=True,
        create_missing_tables=True,
        max_write_units=1,
        max_workers=1000,
        safety_backup=False,
    )


def test_all_faults_are_named_at_once_each_with_its_path():
    faults = faults_of(
        {
            "backup_date": "yesterday",
            "tables": ["ok-name", "x", 7],
            "target_tables": {"orders": 1},
            "dry_run": "yes",
            "clear_existing_data": 1,
            "max_workers": 0,
            "safety_backup": None,
            "mode": "upsert",
            "keys": {"id": {"S": "a"}},
            "create_missing_tables": "no",
            "max_write_units": 0,
            "plan_digest": "0" * 63,
            "verify": True,
        }
    )
    assert set(faults) == {
        "$.backup_date",
        "$.tables[1]",
        "$.tables[2]",
        "$.target_tables.orders",
        "$.dry_run",
        "$.clear_existing_data",
        "$.max_workers",
        "$.safety_backup",
        "$.mode",
        "$.keys",
        "$.create_missing_tables",
        "$.max_write_units",
        "$.plan_digest",
        "$.verify",
    }


@pytest.mark.parametrize("body", [[], "text", 1, True])
def test_a_body_that_is_no_object_is_refused(body):
    assert set(faults_of(body)) == {"$"}


@pytest.mark.parametrize("value", [0, -1, 1001, 2.5, "5", True, None, 10**30])
def test_max_workers_out_of_range_or_of_another_type_is_refused(value):
    assert "$.max_workers" in faults_of({"max_workers": value})


@pytest.mark.parametrize("value", ["2026-13", "2026-11-21T10:15:00Z", "2026-11-21\n", 20261121, "LATEST", ""])
def test_a_date_that_names_no_set_is_refused(value):
    assert "$.backup_date" in faults_of({"backup_date": value})


@pytest.mark.parametrize("field", ["modes", "key", "Dry_Run", "x" * 5000])
def test_fields_of_later_versions_and_misspelt_ones_are_unknown_not_ignored(field):
    faults = faults_of({field: True, "clear_existing_data": True})
    assert list(faults) == [f"$.{field[:100]}"]


def test_two_sources_on_one_target_are_refused():
    faults = faults_of({"tables": ["orders", "users"], "target_tables": {"orders": "users"}})
    assert "orders and users" in faults["$.target_tables"]


def test_a_target_for_a_table_that_is_not_asked_is_refused():
    assert "$.target_tables.users" in faults_of({"tables": ["orders"], "target_tables": {"users": "copy"}})


def test_swapping_two_tables_is_allowed():
    request = parse_restore_request({"tables": ["aaa", "bbb"], "target_tables": {"aaa": "bbb", "bbb": "aaa"}})
    assert request.target_tables == {"aaa": "bbb", "bbb": "aaa"}


@pytest.mark.parametrize("tables", [[], "orders", ["orders", "orders"], ["a b c"], [None], ["t" * 256]])
def test_a_list_of_tables_that_makes_no_sense_is_refused(tables):
    assert any(path.startswith("$.tables") for path in faults_of({"tables": tables}))


def test_a_safety_backup_is_taken_before_clearing_unless_said_otherwise():
    assert parse_restore_request({"clear_existing_data": True}).takes_safety_backup
    assert not parse_restore_request({"clear_existing_data": True, "safety_backup": False}).takes_safety_backup
    assert not parse_restore_request({}).takes_safety_backup
    assert parse_restore_request({"safety_backup": True}).takes_safety_backup


def a_key(number=1):
    return {"id": {"S": f"i{number}"}}


def test_what_contradicts_itself_is_refused_each_with_its_path():
    body = {"clear_existing_data": True, "keys": [a_key()], "mode": "missing_only", "dry_run": True}
    faults = faults_of(body | {"plan_digest": "a" * 64, "verify": "full"})
    assert set(faults) == {"$.keys", "$.mode", "$.plan_digest", "$.verify"}
    assert "$.mode" in faults_of({"clear_existing_data": True, "mode": "changed_only"})


@pytest.mark.parametrize("mode", ["overwrite", "missing_only", "changed_only"])
def test_keys_go_with_every_mode(mode):
    assert parse_restore_request({"keys": [a_key()], "mode": mode}).mode == mode


@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True, None, 100_000_001])
def test_max_write_units_out_of_range_or_of_another_type_is_refused(value):
    assert "$.max_write_units" in faults_of({"max_write_units": value})


@pytest.mark.parametrize("value", ["", "A" * 64, "g" * 64, "a" * 65, "a" * 64 + "\n", 1, None])
def test_a_plan_digest_that_is_none_is_refused(value):
    assert "$.plan_digest" in faults_of({"plan_digest": value})


def test_a_thousand_keys_are_taken_and_no_more():
    assert len(parse_restore_request({"keys": [a_key(number) for number in range(1000)]}).keys or ()) == 1000
    assert "at most 1000" in faults_of({"keys": [a_key(number) for number in range(1001)]})["$.keys"]
