"""A world of backups where people are told: a topic of moto with a queue that shows what arrived, and a bus."""

import json
from typing import Any

from chalicelib.backup.notices import NOTICE, Outbox
from chalicelib.backup.service import BackupService
from chalicelib.ledger import Key, Ledger, Row
from chalicelib.telling.ages import Ages
from chalicelib.telling.teller import Teller
from tests.functional.backup.world import LEDGER_TABLE, Watched, World, client

TOPIC = "arn:aws:sns:us-east-1:123456789012:tablevault"
BUS = "tablevault-events"


class Bus:
    """EventBridge of moto, which needs more packages for sending on to a queue: what it took is kept here."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []

    def put_events(self, **request: Any) -> Any:
        answer = client("events").put_events(**request)
        for entry, result in zip(request["Entries"], answer["Entries"], strict=True):
            if "EventId" in result:
                self.taken.append({**entry, "detail": json.loads(entry["Detail"])})
        return answer

    def describe_event_bus(self, **request: Any) -> Any:
        return client("events").describe_event_bus(**request)


class TellingWorld(World):
    def __init__(self, tables: tuple[str, ...] = ("orders", "catalog"), **environ: str) -> None:
        self.lines: list[str] = []
        self.bus = Bus()
        environ = {"NOTIFICATION_TOPIC": TOPIC, "EVENT_BUS": BUS, **environ}
        if environ["NOTIFICATION_TOPIC"]:
            self._make_topic(environ["NOTIFICATION_TOPIC"].rsplit(":", 1)[-1])
        self._make_bus(environ["EVENT_BUS"])
        super().__init__(tables, **environ)

    def _make_topic(self, name: str) -> None:
        is_fifo = name.endswith(".fifo")
        fifo = {"FifoTopic": "true"} if is_fifo else {}
        arn = client("sns").create_topic(Name=name, Attributes=fifo)["TopicArn"]
        self.topic_queue = self._make_queue("topic", is_fifo=is_fifo)
        client("sns").subscribe(TopicArn=arn, Protocol="sqs", Endpoint=self._arn(self.topic_queue))

    def _make_bus(self, name: str) -> None:
        if name != "default":
            client("events").create_event_bus(Name=name)

    def _make_queue(self, name: str, *, is_fifo: bool = False) -> str:
        attributes = {"FifoQueue": "true"} if is_fifo else {}
        name = f"{name}.fifo" if is_fifo else name
        return str(client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def _arn(self, queue_url: str) -> str:
        return f"arn:aws:sqs:us-east-1:123456789012:{queue_url.rsplit('/', 1)[-1]}"

    def new_process(self) -> BackupService:
        dynamodb, s3 = Watched(self.dynamodb, self), Watched(self.s3, self)
        ledger = Ledger(dynamodb, LEDGER_TABLE, sleep=lambda seconds: None)
        outbox = Outbox(ledger, self.settings.environment, self.clock)
        self.teller = Teller(
            self.settings,
            ledger,
            lambda: s3,
            lambda: Watched(client("sns"), self),
            lambda: Watched(self.bus, self),
            self.clock,
            self.write_line,
        )
        self.ages = Ages(self.settings, ledger, outbox, self.clock, self.write_line)
        return BackupService(
            self.settings,
            ledger,
            dynamodb,
            s3,
            self.clock,
            lambda seconds: self.asleep(),
            tagging=lambda: Watched(client("resourcegroupstaggingapi"), self),
            outbox=outbox,
            others={NOTICE: self.teller.carry_on},
        )

    def write_line(self, line: str) -> None:
        self.before("write_line", {})
        self.lines.append(line)
        self.after("write_line", {})

    # --- looking ---------------------------------------------------------------------------------------------

    def mails(self) -> list[dict[str, Any]]:
        """What the topic's subscriber got since the last time: SNS' envelope."""
        return self._received(self.topic_queue)

    def events(self) -> list[dict[str, Any]]:
        """What the bus took since the last time."""
        taken, self.bus.taken = self.bus.taken, []
        return taken

    def _received(self, queue_url: str) -> list[dict[str, Any]]:
        received: list[dict[str, Any]] = []
        while True:
            answer = client("sqs").receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
            messages = answer.get("Messages", [])
            if not messages:
                return received
            for message in messages:
                received.append(json.loads(message["Body"]))
                client("sqs").delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])

    def metrics(self) -> list[dict[str, Any]]:
        """The lines written since the last time, read as what CloudWatch reads."""
        documents = [json.loads(line) for line in self.lines]
        self.lines.clear()
        return documents

    def notices(self) -> dict[str, Row]:
        """By the names that `open_work` gives, those that have ended too."""
        found = {}
        for item in self.dynamodb.scan(TableName=LEDGER_TABLE)["Items"]:
            pk = item["pk"]["S"]
            if pk.startswith(f"{NOTICE}#"):
                name = pk.removeprefix(f"{NOTICE}#")
                found[name] = self.ledger.get(_key_of(item)) or {}
        return found

    def outcomes(self) -> dict[str, str | None]:
        return {name: row.get("outcome") for name, row in self.notices().items()}


def _key_of(item: dict[str, Any]) -> Key:
    return Key(item["pk"]["S"], item["sk"]["S"])
