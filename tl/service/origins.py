"""A request is turned away when it names another host, or when a page of another origin in a browser sends it.

On a machine without keys every program may use the service, but no web page: browsers send such requests from foreign
pages, too, and a page whose name was made to mean 127.0.0.1 (DNS rebinding) would even read the answer. Its requests
carry its own name in Host, and foreign pages carry theirs in Origin or say so in Sec-Fetch-Site.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from tl.service.options import LOOPBACK, Options
from tl.service.problems import answer

_SAME = (b"same-origin", b"none")  # "none": somebody typed the address
_SAFE = ("GET", "HEAD")


class Origins:
    """ASGI middleware: 421 for another Host, 403 for another Origin."""

    def __init__(self, app: ASGIApp, *, options: Options) -> None:
        self._app = app
        self._names = frozenset({options.host, *options.hosts, *LOOPBACK})
        self._any_address = not options.local  # by an IP address nobody can be lured: only names can be rebound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refused := self._refused(scope)) is not None:
            await answer(*refused, request_id=scope.get("state", {}).get("request_id", ""))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._known(hosts[0]):
            return 421, "this service does not go by that name: call it by its address, or start it with --allow-host"
        given = {name: value for name, value in headers if name in (b"origin", b"sec-fetch-site")}
        origin = given.get(b"origin", b"").decode("latin-1")
        if origin and not _same(origin, hosts[0]):
            return 403, "a page of another origin may not use this service"
        if given.get(b"sec-fetch-site", b"none") not in _SAME and not _is_visit(scope):
            return 403, "a page of another site may not use this service"
        return None

    def _known(self, host: str) -> bool:
        name = _name(host)
        return name in self._names or (self._any_address and _is_address(name))


def _is_visit(scope: Scope) -> bool:
    """Whether somebody follows a link to the page from elsewhere, which shows it to them and to nobody else."""
    dest = next((value for name, value in scope["headers"] if name == b"sec-fetch-mode"), b"")
    return scope["method"] in _SAFE and dest == b"navigate"


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
