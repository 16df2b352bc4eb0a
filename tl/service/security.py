"""A request becomes the key that it may act for, or is refused: `needs("predict")`, `needs("train")`, `needs("admin")`.

No cookie and no password is ever asked for, so a foreign page in somebody's browser has nothing to ride on. Without
keys only this machine is served, and there the page is kept out by `tl.service.middleware`.
"""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tl.service.database import Database
from tl.service.keys import Key, find, listed
from tl.service.options import Limits
from tl.service.problems import Problem


class Rates:
    """At most `rate` a minute for each name, and up to a tenth of that (at least ten) at once; 0 means any."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = rate / 60
        self._burst = max(10.0, rate / 10) if rate > 60 else float(rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Take one and give 0, or the seconds after which there is one again."""
        if not self._each:
            return 0.0
        now = self._clock()
        left, before = self._buckets.get(name, (self._burst, now))
        left = min(self._burst, left + (now - before) * self._each)
        if left < 1:
            return (1 - left) / self._each
        self._buckets[name] = (left - 1, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        return 0.0


LOCAL = Key(0, "local", "admin", "", 0.0)
"""Who acts on a service without keys: somebody on this machine."""

_KEPT = 2.0  # seconds for which a key is remembered: so soon is it gone after it was revoked
_MOST = 10_000
_BEARER = HTTPBearer(auto_error=False, description="A key of `tl keys add`")


class Guard:
    """Knows the keys, and how often each of them comes; `open` while there are none."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._rates = Rates(limits.rate)
        self._failures = Rates(limits.failures)
        self._known: dict[bytes, tuple[Key | None, float]] = {}
        self._any: tuple[bool, float] = (False, -math.inf)

    async def admit(self, token: str | None, role: str, address: str) -> Key:
        """The key that asks. Raises Problem 401, 403 or 429."""
        if token is None and not await self._has_keys():
            return LOCAL
        key = None if token is None else await self._found(token)
        if key is None:
            if token is not None and (wait := self._failures.wait(address)):
                raise _slower(wait, "too many wrong keys from this address")
            said = "a key is needed: send `Authorization: Bearer …`" if token is None else "this key is not valid"
            raise Problem(401, said, {"WWW-Authenticate": 'Bearer realm="tl"'})
        if not key.may(role):
            raise Problem(403, f"the key {key.name!r} has the role {key.role}, this needs {role}")
        if wait := self._rates.wait(str(key.id)):
            raise _slower(wait, f"too many requests of {key.name!r}")
        return key

    async def _has_keys(self) -> bool:
        found, when = self._any
        if found or time.monotonic() - when < _KEPT:
            return found  # once there are keys they are asked for until the end, even if all are revoked
        found = bool(await run_in_threadpool(listed, self._database))
        self._any = (found, time.monotonic())
        return found

    async def _found(self, token: str) -> Key | None:
        name = hashlib.sha256(token.encode()).digest()
        key, when = self._known.get(name, (None, -math.inf))
        if time.monotonic() - when < _KEPT:
            return key
        key = await run_in_threadpool(find, self._database, token)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[name] = (key, time.monotonic())
        return key


def needs(role: str) -> Callable[..., Awaitable[Key]]:
    """What a route depends on to be for keys of `role` and above: `key: Key = Depends(needs("train"))`."""

    async def admitted(
        request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> Key:
        guard: Guard = request.app.state.guard
        if given is None and "authorization" in request.headers:
            raise Problem(401, "only `Authorization: Bearer …` is understood", {"WWW-Authenticate": "Bearer"})
        address = request.client.host if request.client else ""
        key = await guard.admit(None if given is None else given.credentials, role, address)
        request.state.key_name = key.name
        return key

    return admitted


def _slower(seconds: float, why: str) -> Problem:
    return Problem(429, why, {"Retry-After": str(max(1, math.ceil(seconds)))})
