"""The API as a client sees it: the real app behind Chalice's local gateway, which runs authorizer and routes.

Every answer is held against the API's description. Every answer and every log line is kept, so that the fixture can
look for tokens and item content in all of them.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalGateway, LocalGatewayException

from sandbox.resources import ApiToken, store_tokens
from tests.functional.api.description import assert_described
from tests.functional.restore.world import REGION, World

TOKENS_PARAMETER = "/tablevault/tests/api-tokens"
OPERATOR = ApiToken("operator", "tv_operator-0123456789abcdef")
READER = ApiToken("reader", "tv_reader-0123456789abcdef", ("backup:read",))
WRITER = ApiToken("writer", "tv_writer-0123456789abcdef", ("restore:write", "backup:write"))
STRANGER = ApiToken("stranger", "tv_stranger-0123456789abcdef", ())
TOKENS = [OPERATOR, READER, WRITER, STRANGER]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def content_type(self) -> str:
        return {name.lower(): value for name, value in self.headers.items()}.get("content-type", "")

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class Gateway:
    def __init__(self, app: Chalice, world: World, log: io.StringIO) -> None:
        self.app = app
        self.world = world
        self.calls: list[tuple[str, str]] = []  # method and path, as `answers`
        self.answers: list[Answer] = []
        self._gateway = LocalGateway(app, Config())
        self._log = log
        self.ssm = boto3.client("ssm", region_name=REGION)
        store_tokens(self.ssm, TOKENS_PARAMETER, TOKENS)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: ApiToken | str | None = OPERATOR,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`body`: bytes as they are, anything else as JSON. `token`: text is the whole Authorization header."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        authorization = f"Bearer {token.token}" if isinstance(token, ApiToken) else token
        sent = {**({} if authorization is None else {"Authorization": authorization}), **(headers or {})}
        try:
            raw = self._gateway.handle_request(method, path, sent, data)
        except LocalGatewayException as error:
            answer = Answer(error.CODE, error.headers, (error.body or b"").decode())
        else:
            answer = Answer(raw["statusCode"], {**raw["headers"], **raw["multiValueHeaders"]}, raw["body"])
        self.calls.append((method, path))
        self.answers.append(answer)
        assert_described(method, path, answer.status, answer.headers, answer.text)
        return answer

    def logged(self) -> str:
        """What the functions have written to their log: JSON lines, as in Lambda."""
        return self._log.getvalue()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.logged().splitlines()]

    def restore(self, **body: Any) -> str:
        answer = self.call("POST", "/restores", body)
        assert answer.status == 202, answer.text
        return str(answer.body["restore_id"])

    def store_tokens(self, text: str) -> None:
        """Replaces the tokens parameter, and lets enough time pass for the function to read it again."""
        self.ssm.put_parameter(Name=TOKENS_PARAMETER, Type="SecureString", Value=text, Overwrite=True)
        self.world.clock.sleep(61)


def assert_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """An RFC 9457 document with this status and code; returns it."""
    assert (answer.status, answer.content_type) == (status, "application/problem+json"), answer.text
    document: dict[str, Any] = answer.body
    assert set(document) - {"errors"} == {"type", "title", "status", "code", "detail"}
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"urn:tablevault:problem:{code}"
    assert document["title"]
    assert document["detail"]
    for error in document.get("errors", []):
        assert set(error) == {"path", "message"}
    return document


def faults(answer: Answer) -> dict[str, str]:
    """The faults of a 422, by path."""
    document = assert_problem(answer, 422, "invalid_request")
    return {error["path"]: error["message"] for error in document["errors"]}
