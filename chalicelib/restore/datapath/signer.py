"""Signature version 4 for one operation's requests to one endpoint: the ten microseconds of it that vary.

Of such requests only the body, the second and, when a role rolls, the credentials change. So everything else is kept
as text, the day's signing key too, and two SHA-256 and one HMAC are left for each request. Whether that is right is not
taken on trust: before credentials are used for the first time, botocore signs a request with them too, and where the
two headers differ, botocore signs all of them (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
"""

import hmac
import re
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

_SELF_TEST_BODY = b'{"RequestItems":{}}'
_UNSIGNED = frozenset({"user-agent"})
_SENDABLE = re.compile(r"[\x20-\x7e]*")
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]*)*")  # canonical as it stands, but for dots and empty parts
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Signer:
    """Heads (request line and headers, as bytes) of signed POSTs to `url` with `headers`. Thread-safe.

    `credentials` are botocore's, frozen anew for each request: a role's roll while a restore runs. What they raise
    (BotoCoreError) is passed on. ValueError where a header cannot be sent, as one with a line break.
    """

    def __init__(
        self,
        credentials: Any,
        *,
        service_name: str,
        region_name: str,
        url: str,
        headers: Mapping[str, str],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._service_name = service_name
        self._region_name = region_name
        self._url = url
        self._headers = dict(headers)
        self._now_s = now_s
        parts = urlsplit(url)
        self._path = parts.path or "/"
        self._host = _host(parts.scheme, parts.hostname or "", parts.port)
        self._is_plain = _PLAIN_PATH.fullmatch(self._path) is not None and not parts.query
        self._kept: _Kept | None = None  # only ever assigned as a whole, so threads need no lock for it

    def head(self, body: bytes) -> bytes:
        credentials = self._credentials.get_frozen_credentials()
        second = int(self._now_s())
        kept = self._kept
        if kept is None or kept.second != second or kept.credentials != credentials:
            self._kept = kept = self._keep(second, credentials, kept)
        if not kept.is_own:
            return self._head_of(self.botocore_headers(body, credentials), len(body))
        signature = kept.signature(body)
        return b"%b%b\r\nContent-Length: %d\r\n\r\n" % (kept.head, signature.encode(), len(body))

    def botocore_headers(self, body: bytes, credentials: Any) -> dict[str, str]:
        """What botocore makes of the same request, now."""
        request = AWSRequest(method="POST", url=self._url, headers=self._headers, data=body)
        SigV4Auth(credentials, self._service_name, self._region_name).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}

    def _keep(self, second: int, credentials: Any, last: "_Kept | None") -> "_Kept":
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        if last is not None and last.credentials == credentials and last.stamp[:8] == stamp[:8]:
            return self._made(second, stamp, credentials, last.key, is_own=last.is_own)
        key = _signing_key(credentials.secret_key, stamp[:8], self._region_name, self._service_name)
        is_own = self._is_plain and self._is_as_botocores(credentials)
        return self._made(second, stamp, credentials, key, is_own=is_own)

    def _is_as_botocores(self, credentials: Any) -> bool:
        """Signs one request both ways, at the time that botocore took for it."""
        theirs = self.botocore_headers(_SELF_TEST_BODY, credentials)
        stamp = theirs["X-Amz-Date"]
        key = _signing_key(credentials.secret_key, stamp[:8], self._region_name, self._service_name)
        made = self._made(0, stamp, credentials, key, is_own=True)
        ours = made.authorization + made.signature(_SELF_TEST_BODY)
        sent = f"X-Amz-Security-Token: {theirs['X-Amz-Security-Token']}\r\n" if credentials.token else ""
        return ours == theirs["Authorization"] and sent.encode() in made.head

    def _made(self, second: int, stamp: str, credentials: Any, key: bytes, *, is_own: bool) -> "_Kept":
        headers = self._headers | {"X-Amz-Date": stamp}
        if credentials.token:
            headers["X-Amz-Security-Token"] = credentials.token
        signed = {name.lower(): " ".join(value.split()) for name, value in headers.items()} | {"host": self._host}
        names = sorted(signed.keys() - _UNSIGNED)
        canonical = "".join(f"{name}:{signed[name]}\n" for name in names)
        scope = f"{stamp[:8]}/{self._region_name}/{self._service_name}/aws4_request"
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature="
        )
        return _Kept(
            second=second,
            stamp=stamp,
            credentials=credentials,
            is_own=is_own,
            key=key,
            canonical=f"POST\n{self._path}\n\n{canonical}\n{';'.join(names)}\n",
            to_sign=f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n",
            authorization=authorization,
            head=self._lines(headers | {"Authorization": authorization}),
        )

    def _head_of(self, headers: Mapping[str, str], body_bytes: int) -> bytes:
        return self._lines({**headers, "Content-Length": str(body_bytes)}) + b"\r\n\r\n"

    def _lines(self, headers: Mapping[str, str]) -> bytes:
        if not all(_SENDABLE.fullmatch(value) for value in headers.values()):
            raise ValueError("a header of the request cannot be sent")
        lines = (f"{name}: {value}" for name, value in ({"Host": self._host} | dict(headers)).items())
        return "\r\n".join([f"POST {self._path} HTTP/1.1", *lines]).encode("ascii")


class _Kept(msgspec.Struct, frozen=True):
    """What stays the same within a second."""

    second: int
    stamp: str
    credentials: Any
    is_own: bool
    key: bytes
    canonical: str
    to_sign: str
    authorization: str
    head: bytes  # up to where the signature goes

    def signature(self, body: bytes) -> str:
        canonical = self.canonical + sha256(body).hexdigest()
        to_sign = self.to_sign + sha256(canonical.encode()).hexdigest()
        return hmac.digest(self.key, to_sign.encode(), "sha256").hex()


def headers_of(head: bytes) -> dict[str, str]:
    """A head's headers, for those who do not want bytes."""
    _, *lines = head.decode("ascii").rstrip().split("\r\n")
    return dict(line.split(": ", 1) for line in lines)


def _signing_key(secret: str, day: str, region_name: str, service_name: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region_name, service_name, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _host(scheme: str, host: str, port: int | None) -> str:
    """As botocore names it: without the scheme's own port."""
    name = f"[{host}]" if ":" in host else host
    return name if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{name}:{port}"
