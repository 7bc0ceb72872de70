"""What people and machines are told, heard by two queues: one is subscribed to the topic, a rule fills the other."""

import json

from tests.e2e.privilege.stand import Stand

ON_TOPIC, ON_BUS = "heard-on-the-topic", "heard-on-the-bus"
_HIDDEN_FOR_S = 12 * 3600  # what was received is not received again


def listen(stand: Stand) -> None:
    topic = stand.sandbox.stage.notification_topic
    arns = {name: _make_queue(stand, name) for name in (ON_TOPIC, ON_BUS)}
    stand.sandbox.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arns[ON_TOPIC])
    events = stand.sandbox.client("events")
    events.put_rule(Name="heard", EventPattern=json.dumps({"source": ["tablevault"]}))
    events.put_targets(Rule="heard", Targets=[{"Id": "heard", "Arn": arns[ON_BUS]}])


def _make_queue(stand: Stand, name: str) -> str:
    sqs = stand.sandbox.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(_HIDDEN_FOR_S)})["QueueUrl"]
    arn = str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])
    senders = {"Service": ["sns.amazonaws.com", "events.amazonaws.com"]}
    statement = {"Effect": "Allow", "Principal": senders, "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return arn


def heard(stand: Stand) -> list[tuple[str, bytes]]:
    """Everything since `listen`, as it was received: `(where, its bytes)`."""
    sqs = stand.sandbox.client("sqs")
    for name in (ON_TOPIC, ON_BUS):
        request = {"QueueUrl": stand.queue_url(name), "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
        while messages := sqs.receive_message(**request).get("Messages"):
            stand.notices += [(f"a message {name}", json.dumps(message).encode()) for message in messages]
    return stand.notices


def is_told(stand: Stand, text: str) -> bool:
    """Whether both have heard of it."""
    where = {place for place, content in heard(stand) if text.encode() in content}
    return where == {f"a message {name}" for name in (ON_TOPIC, ON_BUS)}
