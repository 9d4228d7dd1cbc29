"""Who may ask what: the secrets of two roles, and which hosts and pages requests may come from."""

import base64
import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable
from ipaddress import ip_address
from secrets import token_bytes
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from solfa.core.errors import InputError
from solfa.serve.pool import BoundedPool, Refused

Role = Literal["reader", "owner"]  # each may do what those before it may
ROLES: tuple[Role, ...] = get_args(Role)
_WRONG_S = 0.5  # what a wrong secret costs; one is checked at a time
_LEAST_CHARS, _MOST_CHARS, _MOST_RIGHT = 8, 200, 10_000
_MOST_BYTES = 1 << 20  # of a request
_HOST = re.compile(r"(?:(?P<name>[a-z0-9._-]+)|\[(?P<v6>[0-9a-f:.]+)\])(?::\d{1,5})?")
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Access:
    """The secrets of roles as argon2 hashes; without any, everybody who reaches the server is its owner."""

    def __init__(self, hashes: dict[Role, str], clear: dict[Role, SecretStr] | None = None) -> None:
        self.clear = clear or {}  # in memory only: tokens of music players are made of the password itself
        self.hashes, self._checks = hashes, BoundedPool(1, 16, 10.0)
        self._key, self._right = token_bytes(32), dict[bytes, Role]()  # a check takes 64 MiB and 50 ms: once each

    @classmethod
    def of_environment(cls) -> "Access":
        """The secrets in SOLFA_OWNER_SECRET and SOLFA_READER_SECRET, or argon2 hashes of them.

        The variables are removed, so that processes that are started do not have them. Raises InputError if a secret
        is too short or too long.
        """
        hashes, clear = dict[Role, str](), dict[Role, SecretStr]()
        for role in ROLES:
            secret = os.environ.pop(f"SOLFA_{role.upper()}_SECRET", "")
            if secret and not secret.startswith("$argon2") and not _LEAST_CHARS <= len(secret) <= _MOST_CHARS:
                raise InputError(f"the secret of the {role} has {len(secret)} characters, expected {_LEAST_CHARS} to "
                                 f"{_MOST_CHARS}.")  # fmt: skip
            if secret.startswith("$argon2"):
                hashes[role] = secret
            elif secret:
                hashes[role], clear[role] = PasswordHasher().hash(secret), SecretStr(secret)
        return cls(hashes, clear)

    async def role_of(self, secret: str) -> Role | None:
        """The role that a secret opens, None if none. Raises Refused while too many are being checked."""
        return await self._checked(self._verify, secret[:_MOST_CHARS])

    async def role_of_token(self, token: str, salt: str) -> Role | None:
        """The role of a music player's token: the MD5 of a password and the salt. Raises Refused as ``role_of``."""
        return await self._checked(self._verify_token, token.lower(), salt)

    async def _checked(self, verify: Callable[..., Role | None], *said: str) -> Role | None:
        mark = hmac.digest(self._key, "\0".join(said).encode("utf-8", "replace"), hashlib.sha256)
        if mark not in self._right and (role := await self._checks(verify, *said)) is not None:
            if len(self._right) >= _MOST_RIGHT:
                self._right.clear()
            self._right[mark] = role
        return self._right.get(mark)

    def _verify(self, secret: str) -> Role | None:
        for role in reversed(ROLES):
            try:
                if role in self.hashes and PasswordHasher().verify(self.hashes[role], secret):
                    return role
            except (VerificationError, InvalidHashError):
                continue
        time.sleep(_WRONG_S)
        return None

    def _verify_token(self, token: str, salt: str) -> Role | None:
        for role, secret in self.clear.items():
            made = hashlib.md5((secret.get_secret_value() + salt).encode("utf-8", "replace"), usedforsecurity=False)
            if hmac.compare_digest(made.hexdigest().encode(), token.encode("utf-8", "replace")):
                return role
        time.sleep(_WRONG_S)
        return None


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine only.

    >>> is_loopback("127.0.0.2"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("music.example")
    (True, True, False, False)
    """
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


class Guard:
    """The door in front of an application: hosts, origins, roles, sizes; headers that browsers keep to.

    A page elsewhere can make a browser send requests here, under a name of its own too (DNS rebinding): requests have
    to be addressed to this machine, an address or a name that was given, and those that a browser sends for another
    page are refused. ``public`` paths need no secret; one that ends in ``/`` stands for all below it. The role is in
    ``scope["state"]["role"]``. ``large`` gives the most bytes of a request for paths that may have more than 1 MiB.
    """

    def __init__(
        self, app: ASGIApp, access: Access, host: str, names: tuple[str, ...], public: tuple[str, ...],
        large: dict[str, int], refuse: Callable[[int, str], ASGIApp],
    ) -> None:  # fmt: skip
        self._app, self._access, self._large, self._refuse = app, access, large, refuse
        self._public, self._below = set(public), tuple(path for path in public if path.endswith("/"))
        self._names = {"localhost", "127.0.0.1", "::1", host.lower(), *map(str.lower, names)}
        self._any_address = not is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                for name, value in _HEADERS.items():
                    MutableHeaders(scope=message).setdefault(name, value)
            await send(message)

        app = self._app
        if scope["type"] == "http":
            try:
                headers = Headers(scope=scope)
                self._check(scope, headers)
                scope.setdefault("state", {})["role"] = await self._role(scope["path"], headers)
            except Refused as refused:
                app = self._refuse(refused.status, str(refused))
        await app(scope, receive, sending)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        found = _HOST.fullmatch(host)
        name = found and (found["name"] or found["v6"])
        if not name or not (name in self._names or (self._any_address and _is_address(name))):
            raise Refused(421, "this server does not answer to that host name. Allow it with: solfa serve --name NAME")
        opened = headers.get("sec-fetch-dest") == "document" and scope["method"] == "GET" and scope["path"] == "/"
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opened
        if foreign or (origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}")):
            raise Refused(403, "requests for other pages are refused.")
        if "transfer-encoding" in headers:
            raise Refused(411, "the length of a request has to be said beforehand (Content-Length).")
        if int(headers.get("content-length", 0)) > self._large.get(scope["path"], _MOST_BYTES):
            raise Refused(413, "the request is too large.")

    async def _role(self, path: str, headers: Headers) -> Role | None:
        role: Role | None = None if self._access.hashes else "owner"
        if role is None and (secret := _secret(headers.get("authorization", ""))):
            role = await self._access.role_of(secret)
        if role is None and path not in self._public and not path.startswith(self._below):
            raise Refused(401, "a password or token is needed.")
        return role


def _secret(authorization: str) -> str:
    """The secret of a header, as a token or as a password, whatever the user's name.

    >>> _secret("Bearer abc"), _secret("Basic " + base64.b64encode(b"me:a:b").decode()), _secret("Basic ?")
    ('abc', 'a:b', '')
    """
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return value.strip() if kind.lower() == "bearer" else ""
