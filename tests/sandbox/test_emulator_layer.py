"""Which requests the layer takes on and which reach ministack untouched, with a stand-in for ministack."""

import asyncio
import json
from typing import Any

import pytest

from sandbox.emulator.asgi import App, Message, Receive, Reply, Scope, Send
from sandbox.emulator.iam import (
    authorized_action,
    authorized_arn,
    scaling_context,
    scaling_resource,
    tagging_checks,
)
from sandbox.emulator.layer import Forward, Layer

_TABLE_ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/orders"


class EchoApp:
    """Answers every request with what it received."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        self.bodies.append(message.get("body", b""))
        body = json.dumps({"path": scope["path"], "body": self.bodies[-1].decode()}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-from", b"inner")]})
        await send({"type": "http.response.body", "body": body})


class DoublingOverlay:
    """Sends the call on with its body doubled, and adds one to the status."""

    OPERATIONS = frozenset({"DescribeExport"})
    PATHS = frozenset({"/_sandbox/own"})

    def __init__(self) -> None:
        self.resets = 0

    async def __call__(self, operation: str, scope: Scope, body: bytes, forward: Forward) -> Reply:
        status, headers, reply = await forward(body + body)
        return status + 1, headers, operation.encode() + b":" + reply

    def administer(self, path: str, body: bytes) -> Reply:
        return 200, [], path.encode() + b":" + body

    def reset(self) -> None:
        self.resets += 1


def _request(
    app: App, path: str = "/", target: str = "", body: bytes = b"ab", method: str = "POST"
) -> tuple[int, bytes]:
    sent: list[Message] = []
    chunks = [body[:1], body[1:]]

    async def receive() -> Message:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"X-Amz-Target", target.encode()), (b"content-length", b"2")],
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_an_export_operation_goes_to_the_overlay_which_can_send_it_on() -> None:
    inner = EchoApp()
    status, body = _request(Layer(inner, DoublingOverlay()), target="DynamoDB_20120810.DescribeExport")
    assert status == 201
    assert body.startswith(b"DescribeExport:")
    assert inner.bodies == [b"abab"]


def test_a_path_of_the_sandboxs_own_goes_to_the_overlay_and_no_further() -> None:
    inner = EchoApp()
    assert _request(Layer(inner, DoublingOverlay()), "/_sandbox/own") == (200, b"/_sandbox/own:ab")
    assert inner.bodies == []


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "DynamoDB_20120810.PutItem"),
        ("/", "OtherService.DescribeExport"),
        ("/bucket/key", "DynamoDB_20120810.DescribeExport"),
        ("/", ""),
    ],
)
def test_every_other_call_reaches_the_emulator_with_its_body_unread(path: str, target: str) -> None:
    inner = EchoApp()
    status, _ = _request(Layer(inner, DoublingOverlay()), path, target)
    assert (status, inner.bodies) == (200, [b"a"])  # the first of two chunks: the layer has taken none


def test_without_an_export_engine_the_emulators_own_answers() -> None:
    inner = EchoApp()
    assert _request(Layer(inner), target="DynamoDB_20120810.DescribeExport")[0] == 200


def test_a_reset_of_the_emulator_resets_the_overlay_too() -> None:
    inner, overlay = EchoApp(), DoublingOverlay()
    _request(Layer(inner, overlay), "/_ministack/reset")
    assert overlay.resets == 1
    assert inner.bodies == [b"a"]


def test_what_else_has_to_forget_is_told_of_a_reset_too() -> None:
    inner, told = EchoApp(), list[str]()
    _request(Layer(inner, on_reset=lambda: told.append("reset")), "/_ministack/reset")
    assert told == ["reset"]
    assert inner.bodies == [b"a"]


def test_a_client_that_hangs_up_before_its_request_is_complete_gets_no_answer() -> None:
    inner = EchoApp()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pytest.fail(f"answered {message}")

    scope = {"type": "http", "method": "PUT", "path": "/restapis/a", "query_string": b"", "headers": []}
    asyncio.run(Layer(inner)(scope, receive, send))
    assert inner.bodies == []


@pytest.mark.parametrize(
    ("action", "granted_by"),
    [
        ("sqs:SendMessageBatch", "sqs:SendMessage"),
        ("sqs:DeleteMessageBatch", "sqs:DeleteMessage"),
        ("sqs:ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility"),
        ("sqs:SendMessage", "sqs:SendMessage"),
        ("glue:GetBatch", "glue:GetBatch"),
        (None, None),
    ],
)
def test_a_batch_call_of_sqs_is_granted_by_the_action_for_one_message(
    action: str | None, granted_by: str | None
) -> None:
    assert authorized_action(action) == granted_by


@pytest.mark.parametrize(
    ("operation", "request_body", "arn"),
    [
        ("ExportTableToPointInTime", {"TableArn": _TABLE_ARN}, _TABLE_ARN),
        ("DescribeExport", {"ExportArn": f"{_TABLE_ARN}/export/1"}, f"{_TABLE_ARN}/export/1"),
        ("DescribeBackup", {"BackupArn": f"{_TABLE_ARN}/backup/1"}, f"{_TABLE_ARN}/backup/1"),
        ("ListExports", {"TableArn": _TABLE_ARN}, None),
        ("PutItem", {"TableName": "orders"}, None),
        ("ExportTableToPointInTime", {}, None),
        ("ExportTableToPointInTime", [], None),
    ],
)
def test_a_call_that_names_its_resource_by_arn_is_authorized_on_it(
    operation: str, request_body: object, arn: str | None
) -> None:
    assert authorized_arn(f"DynamoDB_20120810.{operation}", json.dumps(request_body).encode()) == arn


def test_a_body_that_is_no_json_names_no_resource() -> None:
    assert authorized_arn("DynamoDB_20120810.DescribeExport", b"{") is None


def test_a_table_that_is_made_with_tags_needs_the_right_to_tag_it() -> None:
    create, tagged = "dynamodb:CreateTable", json.dumps({"TableName": "orders", "Tags": [{"Key": "a"}]}).encode()
    assert tagging_checks(create, tagged, _TABLE_ARN) == [(create, _TABLE_ARN), ("dynamodb:TagResource", _TABLE_ARN)]
    assert tagging_checks(create, b'{"TableName": "orders", "Tags": []}', _TABLE_ARN) == []
    assert tagging_checks("dynamodb:PutItem", tagged, _TABLE_ARN) == []
    assert tagging_checks(create, b"{", _TABLE_ARN) == []


def test_scaling_is_authorized_on_all_targets_and_tells_what_is_scaled() -> None:
    every = "arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/*"
    for operation, resource in (("PutScalingPolicy", every), ("DescribeScalingPolicies", "*")):
        assert scaling_resource(f"AnyScaleFrontendService.{operation}", "us-east-1", "000000000000") == resource
    told = {"application-autoscaling:service-namespace": "dynamodb"}
    assert scaling_context(b'{"ServiceNamespace": "dynamodb"}') == told
    assert scaling_context(b"[]") == {}
