"""Raw lines on their way into a table: a BatchWriteItem body joined from bytes, signed, sent, answered.

A line of a full export already is DynamoDB JSON, so nothing is parsed on this path. It is only for the
ordinary case: what is not a clean answer is for the boto3 client to send again (puts are idempotent),
and `put_request` turns a line into what that client takes.

Sent over kept `http.client` connections instead of a urllib3 pool: no lock and less bookkeeping between
threads, a timeout per request, and a fifth more throughput. What http.client does not do by itself
(proxies, client certificates) is what `raw_sender` refuses to take on.
"""

import base64
import binascii
import json
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.hooks import first_non_none_response
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from chalicelib.aws import Client
from chalicelib.restore.datapath.item_line import is_item_line

_NOTHING_UNPROCESSED = b'{"UnprocessedItems":{}}'

# DynamoDB's messages without item content: at most the name of a key attribute. From its answers and from
# DynamoDB Local's.
_CONTENT_FREE = re.compile(
    r"Item size (to update )?has exceeded the maximum allowed size"
    r"|Aggregated size of all range keys has exceeded the size limit of \d+ bytes"
    r"|One or more parameter values were invalid: "
    r"(Size of (hash|range)key has exceeded the maximum size limit of ?\d+ bytes"
    r"|Missing the key [\w.-]+ in the item"
    r"|Type mismatch for key [\w.-]+ expected: \w+ actual: \w+)"
    r"|One or more parameter values (are not valid\.|were invalid:) The AttributeValue for a key attribute cannot"
    r" contain an empty (string|binary) value\. Key: [\w.-]+"
    r"|Number overflow\. Attempting to store a number with magnitude (larger|smaller) than supported range"
    r"|Attempting to store more than \d+ significant digits in a Number"
    r"|Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
)


@dataclass(frozen=True)
class RawAnswer:
    """A complete HTTP answer."""

    status: int
    body: bytes

    @property
    def is_clean(self) -> bool:
        """Whether DynamoDB says, in as many words, that every line is written."""
        if self.status != 200:
            return False
        return self.body == _NOTHING_UNPROCESSED or b"".join(self.body.split()) == _NOTHING_UNPROCESSED

    def unprocessed(self) -> dict[str, list[Any]] | None:
        """The requests of a 200 that are not done, by table, as boto3 gives them; None if it is not known.

        A raw answer has binaries as base64 text, unlike boto3's: it is decoded as the lines are.
        """
        if self.status != 200:
            return None
        try:
            requests_by_table = json.loads(self.body)["UnprocessedItems"]
            return {
                table: [{"PutRequest": {"Item": attributes(request["PutRequest"]["Item"])}} for request in requests]
                for table, requests in requests_by_table.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def batch_body(table_name: str, lines: Sequence[bytes]) -> bytes:
    """The request that puts `lines`, which stay as they are: numbers, sets, and base64 included.

    Only for lines that are `is_item_line`: any other could end its place in the list and begin requests of its own.
    """
    head = b'{"RequestItems":{%s:[{"PutRequest":' % json.dumps(table_name).encode()
    return head + b'},{"PutRequest":'.join(lines) + b"}]}}"


def raw_sender(dynamodb: Client, table_name: str) -> "RawBatchSender | None":
    """A sender with the client's endpoint, credentials and trust; None where only the client will do.

    That is: behind a proxy, with a client certificate, or without credentials.
    """
    endpoint = dynamodb.meta.endpoint_url
    config = dynamodb.meta.config
    proxies = config.proxies if config.proxies is not None else get_environ_proxies(endpoint)
    if urlsplit(endpoint).scheme in proxies or config.client_cert or dynamodb._get_credentials() is None:
        return None
    return RawBatchSender(dynamodb, table_name)


class RawBatchSender:
    """Sends raw batches. Thread-safe; connections are kept until `close`, also when threads come and go.

    `_get_credentials` and the session's `_verify` are botocore's private names: botocore is pinned,
    and a test signs the same request both ways.
    """

    def __init__(self, dynamodb: Client, table_name: str) -> None:
        self._table_name = table_name
        self._credentials = dynamodb._get_credentials()
        self._events = dynamodb.meta.events
        self._region_name = dynamodb.meta.region_name
        service = dynamodb.meta.service_model
        self._service_name = service.signing_name
        self._endpoint = urlsplit(dynamodb.meta.endpoint_url)
        self._path = self._endpoint.path or "/"
        self._url = urlunsplit((self._endpoint.scheme, self._endpoint.netloc, self._path, "", ""))
        self._headers = {
            "X-Amz-Target": f"{service.metadata['targetPrefix']}.BatchWriteItem",
            "Content-Type": f"application/x-amz-json-{service.metadata['jsonVersion']}",
            "User-Agent": dynamodb.meta.config.user_agent,
            "Accept-Encoding": "identity",
        }
        self._tls = None
        if self._endpoint.scheme == "https":
            self._tls = _tls_context(dynamodb._endpoint.http_session._verify)
        # A stack, so that the warmest connection goes first; list.pop and list.append are atomic.
        self._idle: list[HTTPConnection] = []

    def send(self, lines: Sequence[bytes], timeout_s: float) -> RawAnswer | None:
        """Sends one batch; `timeout_s` bounds connecting and each wait for the answer.

        None: there is no complete answer. The lines may be written, all, some, or none of them.
        """
        try:
            request = self._signed(batch_body(self._table_name, lines))
        except BotoCoreError:  # credentials cannot be had just now; the client tells that better
            return None
        # botocore asks this hook before it opens a socket: moto answers here, and whatever else
        # stands between the client and the network must not be bypassed.
        try:
            answers = self._events.emit("before-send.dynamodb.BatchWriteItem", request=request)
        except Exception:  # botocore takes it for a failed request too, whatever a hook raises
            return None
        intercepted = first_non_none_response(answers)
        if intercepted is not None:
            return RawAnswer(intercepted.status_code, intercepted.content)
        return self._exchange(request, timeout_s)

    def close(self) -> None:
        """Closes all connections. No thread may be sending."""
        while self._idle:
            self._idle.pop().close()

    def _signed(self, body: bytes) -> Any:
        request = AWSRequest(method="POST", url=self._url, headers=self._headers, data=body)
        # Frozen anew for each request: a role's credentials roll while a restore runs.
        credentials = self._credentials.get_frozen_credentials()
        SigV4Auth(credentials, self._service_name, self._region_name).add_auth(request)
        return request.prepare()

    def _exchange(self, request: Any, timeout_s: float) -> RawAnswer | None:
        connection = self._idle_connection() or self._new_connection()
        try:
            while True:
                was_kept = connection.sock is not None
                try:
                    return self._exchange_on(connection, request, timeout_s)
                except (OSError, HTTPException) as error:
                    connection.close()  # whatever still came on it would be taken for the next answer
                    # The server closes connections that idle too long: that is no failure of the
                    # request yet. On a new connection it is one.
                    if not (was_kept and isinstance(error, ConnectionError)):
                        return None
        finally:
            self._idle.append(connection)

    def _idle_connection(self) -> HTTPConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _new_connection(self) -> HTTPConnection:
        host, port = self._endpoint.hostname or "", self._endpoint.port
        if self._tls is not None:
            return HTTPSConnection(host, port, context=self._tls)
        return HTTPConnection(host, port)

    def _exchange_on(self, connection: HTTPConnection, request: Any, timeout_s: float) -> RawAnswer:
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", self._path, request.body, dict(request.headers.items()))
        response = connection.getresponse()
        return RawAnswer(response.status, response.read())


def put_request(line: bytes) -> dict[str, Any]:
    """One line as boto3's WriteRequest, binaries decoded. ValueError, without content, if it is no item.

    boto3 encodes B and BS itself. Handing it the line's base64 text would encode that a second time:
    the classic way in which restore scripts corrupt binaries.
    """
    try:
        if not is_item_line(line):
            raise ValueError
        return {"PutRequest": {"Item": attributes(json.loads(line)["Item"])}}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("the line is not an item in DynamoDB JSON") from None


def attributes(item: Any) -> dict[str, Any]:
    """An item's (or map's) attributes as boto3 takes them: B and BS as bytes, at any depth."""
    return {name: _attribute_value(value) for name, value in item.items()}


def _attribute_value(value: Any) -> dict[str, Any]:
    ((kind, content),) = value.items()
    if kind == "B":
        content = _decoded(content)
    elif kind == "BS":
        content = [_decoded(member) for member in _list(content)]
    elif kind == "M":
        content = attributes(content)
    elif kind == "L":
        content = [_attribute_value(member) for member in _list(content)]
    return {kind: content}


def _list(content: Any) -> list[Any]:
    """Anything else that can be looped over, an empty map for one, must not become a list on its way."""
    if not isinstance(content, list):
        raise TypeError("no list")
    return content


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def message_without_content(message: str, line: bytes) -> str:
    """DynamoDB's reason for refusing `line`; if not known to be free of content, without the item's words."""
    if _CONTENT_FREE.fullmatch(message.rstrip(".")):
        return message
    texts = list(_texts(json.loads(line)))
    return re.sub(r"\w+", lambda word: "…" if any(word[0] in text for text in texts) else word[0], message)


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            yield name
            yield from _texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from _texts(value)
    else:
        yield str(document)


def _tls_context(verify: Any) -> ssl.SSLContext:
    """Trust as botocore would have it: its own bundle, AWS_CA_BUNDLE, a path, or none at all.

    Not botocore's own context: that one leaves the check of the host name to urllib3.
    """
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    path = get_cert_path(True if verify is None else verify)
    if Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
