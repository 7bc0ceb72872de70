"""Requests to DynamoDB that botocore does not make: a body of ours, its signature, a kept connection, the answer.

Only for the ordinary case. What stands between the client and the network (a proxy, a client certificate, no
credentials) is left to the client, and a hook on botocore's `before-send` is asked before a socket is, as botocore
asks it: moto answers there.
"""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import BotoCoreError
from botocore.hooks import first_non_none_response
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from chalicelib.aws import Client
from chalicelib.restore.datapath.connections import Connections, NoAnswer
from chalicelib.restore.datapath.raw_batch import RawAnswer
from chalicelib.restore.datapath.signer import Signer, headers_of

_DEFAULT_PORTS = {"http": 80, "https": 443}


def raw_sender(dynamodb: Client) -> "RawSender | None":
    """A sender with the client's endpoint, credentials and trust; None where only the client will do.

    That is: behind a proxy, with a client certificate, or without credentials.
    """
    endpoint = dynamodb.meta.endpoint_url
    config = dynamodb.meta.config
    proxies = config.proxies if config.proxies is not None else get_environ_proxies(endpoint)
    if urlsplit(endpoint).scheme in proxies or config.client_cert or dynamodb._get_credentials() is None:
        return None
    return RawSender(dynamodb)


class RawSender:
    """Sends raw requests. Thread-safe; connections are kept until `close`, also when threads come and go.

    `_get_credentials` and the session's `_verify` are botocore's private names: botocore is pinned,
    and a test signs the same request both ways.
    """

    def __init__(self, dynamodb: Client) -> None:
        endpoint = urlsplit(dynamodb.meta.endpoint_url)
        self._dynamodb = dynamodb
        self._events = dynamodb.meta.events
        self._credentials = dynamodb._get_credentials()
        self._url = urlunsplit((endpoint.scheme, endpoint.netloc, endpoint.path or "/", "", ""))
        self._tls = None
        if endpoint.scheme == "https":
            self._tls = _tls_context(dynamodb._endpoint.http_session._verify)
        port = endpoint.port or _DEFAULT_PORTS[endpoint.scheme]
        self._connections = Connections(endpoint.hostname or "", port, self._tls)
        self._signers: dict[str, Signer] = {}
        self._unhooked: set[str] = set()  # operations of which the first request met no hook

    def send(
        self, operation: str, body: bytes, timeout_s: float, on_unanswered: Callable[[], None] = lambda: None
    ) -> RawAnswer | None:
        """Sends one request; `timeout_s` bounds connecting and the wait for the answer.

        None: there is no complete answer. Whatever the request asks for may be done, in part or not at all, or may be
        so a moment later; `on_unanswered` is told, also of one that was sent again, but not where nothing was sent.
        """
        signer = self._signers.get(operation) or self._new_signer(operation)
        try:
            head = signer.head(body)
            if operation not in self._unhooked:
                answer = self._of_a_hook(operation, head, body)
                if answer is not None:
                    return answer
        except (BotoCoreError, ValueError):  # credentials cannot be had just now; the client tells that better
            return None
        except _HookFailed:
            on_unanswered()
            return None
        return self._exchange(head + body, timeout_s, on_unanswered)

    def close(self) -> None:
        """Closes all connections. No thread may be sending."""
        self._connections.close()

    def _exchange(self, request: bytes, timeout_s: float, on_unanswered: Callable[[], None]) -> RawAnswer | None:
        fresh = False
        while True:
            try:
                return self._connections.exchange(request, timeout_s, fresh=fresh)
            except NoAnswer as error:
                if error.is_sent:
                    on_unanswered()
                # The server closes connections that idle too long, maybe just now: on a new one it is a failure.
                if not error.is_reset or fresh:
                    return None
                fresh = True

    def _of_a_hook(self, operation: str, head: bytes, body: bytes) -> RawAnswer | None:
        """What a hook answers in the network's stead. Where there is none at all, none is asked again: the hooks of a
        client are there before the work begins."""
        request = AWSPreparedRequest("POST", self._url, HeadersDict(headers_of(head)), body, False)
        try:
            answers = self._events.emit(f"before-send.dynamodb.{operation}", request=request)
        except Exception as error:  # botocore takes it for a failed request too, whatever a hook raises
            raise _HookFailed from error
        if not answers:
            self._unhooked.add(operation)
        intercepted = first_non_none_response(answers)
        return None if intercepted is None else RawAnswer(intercepted.status_code, intercepted.content)

    def _new_signer(self, operation: str) -> Signer:
        service = self._dynamodb.meta.service_model
        signer = self._signers[operation] = Signer(
            self._credentials,
            service_name=service.signing_name,
            region_name=self._dynamodb.meta.region_name,
            url=self._url,
            headers={
                "X-Amz-Target": f"{service.metadata['targetPrefix']}.{operation}",
                "Content-Type": f"application/x-amz-json-{service.metadata['jsonVersion']}",
                "User-Agent": self._dynamodb.meta.config.user_agent,
                "Accept-Encoding": "identity",
            },
        )
        return signer


class _HookFailed(Exception):
    pass


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
