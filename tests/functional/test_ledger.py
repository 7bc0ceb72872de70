"""The ledger's conditional writes and transactions, against moto's DynamoDB."""

import pytest
from boto3.dynamodb.conditions import Attr
from botocore.exceptions import ClientError

from chalicelib.errors import LedgerEntryCorrupt, Unavailable
from chalicelib.ledger import Check, ConditionFailed, Delete, Key, Ledger, Put, Update, absent, decode, present
from chalicelib.restore.model import Slot

KEY = Key("RESTORE#r", "JOB")


def test_a_put_if_absent_fails_the_second_time_and_shows_what_stands_there(ledger):
    ledger.write(Put(KEY, {"status": "A", "n": 1, "none": None}, absent()))
    with pytest.raises(ConditionFailed) as raised:
        ledger.write(Put(KEY, {"status": "B"}, absent()))
    assert raised.value.failed == (True,)
    assert raised.value.rows == ({"pk": "RESTORE#r", "sk": "JOB", "status": "A", "n": 1},)


def test_an_update_sets_adds_and_removes_and_returns_the_row_as_it_stands(ledger):
    ledger.write(Put(KEY, {"status": "A", "n": 1, "gone": True}))
    row = ledger.write(
        Update(KEY, set={"status": "B"}, add={"n": 2}, remove=["gone"], condition=Attr("status").eq("A"))
    )
    assert row == {"pk": "RESTORE#r", "sk": "JOB", "status": "B", "n": 3}
    assert ledger.get(KEY) == row


def test_a_transaction_is_all_or_nothing_and_says_whose_condition_failed(ledger):
    other = Key("RESTORE#r", "TABLE#0000")
    ledger.write(Put(KEY, {"status": "A"}))
    ledger.write(Put(other, {"n": 0}))
    writes = [Check(KEY, Attr("status").eq("B")), Update(other, add={"n": 1}, condition=present())]
    with pytest.raises(ConditionFailed) as raised:
        ledger.transact(writes)
    assert raised.value.failed == (True, False)
    assert ledger.get(other) == {"pk": "RESTORE#r", "sk": "TABLE#0000", "n": 0}
    ledger.transact([Check(KEY, Attr("status").eq("A")), Update(other, add={"n": 1}, condition=present())])
    assert (ledger.get(other) or {})["n"] == 1


def test_a_delete_names_the_state_it_expects(ledger):
    ledger.write(Put(KEY, {"restore_id": "mine"}))
    with pytest.raises(ConditionFailed):
        ledger.write(Delete(KEY, Attr("restore_id").eq("other")))
    ledger.write(Delete(KEY, Attr("restore_id").eq("mine")))
    assert ledger.get(KEY) is None


def test_rows_are_read_in_pages_by_prefix_from_a_position_and_filtered(ledger):
    ledger.put_all((Key("P", f"SHARD#{number:03d}"), {"even": number % 2 == 0}) for number in range(60))
    ledger.put_all([(Key("P", "JOB"), {}), (Key("P", "SLOT#1"), {})])
    rows = list(ledger.query("P", "SHARD#", page_size=7))
    assert [row["sk"] for row in rows] == [f"SHARD#{number:03d}" for number in range(60)]
    later = list(ledger.query("P", "SHARD#", start_after="SHARD#050", page_size=3, where=Attr("even").eq(True)))
    assert [row["sk"] for row in later] == ["SHARD#052", "SHARD#054", "SHARD#056", "SHARD#058"]
    assert len(ledger.get_many([Key("P", f"SHARD#{number:03d}") for number in range(60)] + [Key("P", "no")])) == 60


def test_lists_are_newest_first_and_paged_by_name(ledger):
    ledger.put_all((Key(f"B#{day}", "SET"), {"kind": "BACKUP", "sort_name": f"2026-11-{day}"}) for day in range(10, 20))
    first = ledger.list_page("BACKUP", limit=4, before=None)
    assert [row["sort_name"] for row in first] == [f"2026-11-{day}" for day in (19, 18, 17, 16)]
    second = ledger.list_page("BACKUP", limit=4, before="2026-11-16")
    assert [row["sort_name"] for row in second] == [f"2026-11-{day}" for day in (15, 14, 13, 12)]


def test_a_row_of_another_shape_is_corrupt_and_named():
    with pytest.raises(LedgerEntryCorrupt, match="RESTORE#r/SLOT#0001"):
        decode({"pk": "RESTORE#r", "sk": "SLOT#0001", "number": "one"}, Slot)


class Conflicting:
    """A DynamoDB client whose transactions meet others `times` times."""

    def __init__(self, client, times):
        self._client = client
        self.times = times

    def __getattr__(self, name):
        return getattr(self._client, name)

    def transact_write_items(self, **request):
        if self.times:
            self.times -= 1
            raise ClientError(
                {
                    "Error": {"Code": "TransactionCanceledException", "Message": "conflict"},
                    "CancellationReasons": [{"Code": "TransactionConflict"} for _ in request["TransactItems"]],
                },
                "TransactWriteItems",
            )
        return self._client.transact_write_items(**request)


def test_a_transaction_that_meets_others_is_tried_again(ledger, dynamodb):
    waits: list[float] = []
    client = Conflicting(dynamodb, times=3)
    Ledger(client, ledger.table_name, sleep=waits.append, jitter=lambda: 1.0).transact([Put(KEY, {"n": 1})])
    assert ledger.get(KEY) is not None
    assert waits == sorted(waits)
    assert len(waits) == 3


def test_a_transaction_that_never_comes_through_says_so(ledger, dynamodb):
    client = Conflicting(dynamodb, times=1_000)
    with pytest.raises(Unavailable):
        Ledger(client, ledger.table_name, sleep=lambda _: None).transact([Put(KEY, {"n": 1})])
    assert ledger.get(KEY) is None


def test_deletes_go_in_batches_and_rows_that_are_not_there_are_no_error(ledger):
    keys = [Key("SET#1", f"ROW#{number:02d}") for number in range(30)]
    ledger.put_all((key, {"number": number}) for number, key in enumerate(keys))
    ledger.delete_all([*keys[1:], Key("SET#1", "ROW#99")])
    assert [row["sk"] for row in ledger.query("SET#1")] == ["ROW#00"]
    ledger.delete_all([])
