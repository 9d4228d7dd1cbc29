"""Who may ask what: secrets of two roles, and which hosts and pages requests may come from."""

import base64
import hashlib
import hmac
import json
import os
import re
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from secrets import token_bytes
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from solfa.core.errors import InputError
from solfa.core.files import write_whole
from solfa.serve.pool import BoundedPool, Refused

Role = Literal["reader", "owner"]  # each may do what those before it may
ROLES: tuple[Role, ...] = get_args(Role)
_HOST = re.compile(r"(?:(?P<name>[a-z0-9._-]+)|\[(?P<v6>[0-9a-f:.]+)\])(?::\d{1,5})?")
_WRONG_S = 0.5  # what a wrong secret costs; one is checked at a time
_LEAST_CHARS, _MOST_CHARS = 8, 200
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Access:
    """The secrets of the roles, as argon2 hashes; without any, everybody who reaches the server is its owner."""

    def __init__(self, hashes: dict[Role, str]) -> None:
        self.hashes = hashes
        self._key, self._right = token_bytes(32), dict[bytes, Role]()  # a check takes 64 MiB and 50 ms: once each
        self._checks = BoundedPool("secret", 1, 16, 10.0)

    @classmethod
    def read(cls, path: Path | None) -> "Access":
        """The secrets that ``set_secret`` wrote to a file, and before them those in SOLFA_OWNER_SECRET and
        SOLFA_READER_SECRET.

        Raises InputError if the file is not one of secrets, or others can read it.
        """
        hashes = _stored(path)
        for role in ROLES:
            if secret := os.environ.pop(f"SOLFA_{role.upper()}_SECRET", ""):  # processes that are started see it not
                hashes[role] = _hashed(secret)
        return cls(hashes)

    async def role_of(self, secret: str) -> Role | None:
        """The role that a secret opens, None if none. Raises Refused while too many are being checked."""
        mark = hmac.digest(self._key, secret.encode("utf-8", "replace"), hashlib.sha256)
        if mark not in self._right and (role := await self._checks(self._verify, secret[:_MOST_CHARS])) is not None:
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


def _hashed(secret: str) -> str:
    if not _LEAST_CHARS <= len(secret) <= _MOST_CHARS:
        raise InputError(f"a secret of {len(secret)} characters, expected {_LEAST_CHARS} to {_MOST_CHARS}.")
    return PasswordHasher().hash(secret)


def _stored(path: Path | None) -> dict[Role, str]:
    try:
        if path is None or not path.exists():
            return {}
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise InputError(f"{path} can be read by others. Run: chmod 600 {path}")
        value = json.loads(path.read_text(encoding="utf-8"))
        return {role: str(value[role]) for role in ROLES if role in value}
    except (OSError, TypeError, json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path} is not a file of secrets. Delete it, then: solfa serve --set owner") from None


def set_secret(path: Path, role: Role, secret: str) -> None:
    """Keep the argon2 hash of a role's secret in a file that only its owner can read; an empty secret removes it.

    Raises InputError if it is too short or too long, or the file cannot be written.
    """
    hashes = {**_stored(path), role: _hashed(secret) if secret else ""}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        write_whole(path, json.dumps({name: value for name, value in hashes.items() if value}).encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from None


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine only.

    >>> is_loopback("127.0.0.2"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("music.example")
    (True, True, False, False)
    """
    return _address(host, "is_loopback") or host == "localhost"


def _address(host: str, what: str = "version") -> bool:
    try:
        return bool(getattr(ip_address(host), what))
    except ValueError:
        return False


class Guard:
    """The door in front of an application: hosts, origins, roles; headers that browsers keep to.

    A page elsewhere can make a browser send requests here, under a name of its own too (DNS rebinding): requests have
    to be addressed to this machine, an address or a name that was given, and those that a browser sends for another
    page are refused. ``public`` paths need no secret; one that ends in ``/`` stands for all below it. The role is in
    ``scope["state"]["role"]``.
    """

    def __init__(
        self, app: ASGIApp, access: Access, host: str, names: tuple[str, ...], public: tuple[str, ...],
        refuse: Callable[[int, str], ASGIApp],
    ) -> None:  # fmt: skip
        self._app, self._access, self._public, self._refuse = app, access, public, refuse
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
                self._check_source(scope, Headers(scope=scope))
                scope.setdefault("state", {})["role"] = await self._role(scope, Headers(scope=scope))
            except Refused as refused:
                app = self._refuse(refused.status, str(refused))
        await app(scope, receive, sending)

    def _check_source(self, scope: Scope, headers: Headers) -> None:
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        found = _HOST.fullmatch(host)
        name = found and (found["name"] or found["v6"])
        if name is None or not (name in self._names or (self._any_address and _address(name))):
            raise Refused(421, "this server does not answer to that host name. Allow it with: solfa serve --name NAME")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise Refused(403, "requests for other pages are refused.")
        opened = headers.get("sec-fetch-dest") == "document" and scope["method"] == "GET" and scope["path"] == "/"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opened:
            raise Refused(403, "requests for other pages are refused.")

    async def _role(self, scope: Scope, headers: Headers) -> Role | None:
        if not self._access.hashes:
            return "owner"
        role, secret = None, _secret(headers.get("authorization", ""))
        if secret:
            role = await self._access.role_of(secret)
        folders = tuple(path for path in self._public if path.endswith("/"))
        if role is None and scope["path"] not in self._public and not scope["path"].startswith(folders):
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
