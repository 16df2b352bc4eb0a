"""An http or https address becomes the bytes behind it: within limits of time and size, and from public servers alone.

The name is looked up once, every address it has is checked, and the connection goes to the very address that was
checked, so that a name server which answers otherwise a moment later gains nothing. Redirections are checked alike.
Proxies are not used: they would look the name up themselves.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from tl.errors import ImageError

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True)
class Limits:
    """Seconds without an answer, seconds in all, bytes of an image; and whether private addresses may be asked."""

    timeout: float = 10.0
    total: float = 60.0
    most_bytes: int = 50 * 10**6
    private: bool = False
    offline: bool = False


_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_CHUNK = 1 << 16
_SAFE = "/%:@!$&'()*+,;=~-._?"  # in the path and query of an address; what is encoded already stays
_HEADERS = {"User-Agent": "tl", "Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"}
_SIXFOUR = ipaddress.ip_network("2002::/16"), ipaddress.ip_network("64:ff9b::/96")  # IPv4 in IPv6: 6to4, NAT64
_UNSURE = (
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("64:ff9b:1::/48"),
    ipaddress.ip_network("100::/8"),
)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch(url: str, limits: Limits) -> bytes:
    """The bytes behind an address. Raises ImageError with the reason for which they cannot be had."""
    if limits.offline:
        raise ImageError("not fetched: offline mode forbids it")
    deadline = time.monotonic() + limits.total
    for _ in range(_MOST_REDIRECTS + 1):
        answer = _Request(url, limits, deadline).answer()
        if isinstance(answer, bytes):
            return answer
        if urlsplit(url).scheme == "https" and urlsplit(answer).scheme != "https":
            raise ImageError("not fetched: it leads from https to an address that is not")
        url = answer
    raise ImageError(f"not fetched: more than {_MOST_REDIRECTS} redirections")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, and to one machine: what stands for another is that one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or (address.teredo or (None, None))[1] or _inside(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    if any(address in network for network in _UNSURE if network.version == address.version):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    sixtofour, nat64 = _SIXFOUR
    if address in nat64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour if address in sixtofour else None


class _Request:
    """One request to one server, over before the deadline."""

    def __init__(self, url: str, limits: Limits, deadline: float) -> None:
        self._limits, self._deadline = limits, deadline
        self._url, self._parts = url, _parts(url)
        self._socket: socket.socket | None = None
        self._late = False

    def answer(self) -> bytes | str:
        """The bytes, or the address to which the server sends on."""
        addresses = self._addresses()
        # A server can keep every silence short and yet never end: what is still under way at the deadline is cut off.
        timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._cut)
        timer.daemon = True
        timer.start()
        try:
            return self._asked(addresses)
        except (OSError, HTTPException, ValueError) as error:
            raise ImageError(f"cannot be fetched: {self._reason(error)}") from None
        finally:
            timer.cancel()

    def _asked(self, addresses: list[tuple[int, Any]]) -> bytes | str:
        connection = HTTPConnection(self._parts.hostname or "", self._port)
        connection.sock = self._connected(addresses)
        try:
            target = self._parts.path or "/"
            target += f"?{self._parts.query}" if self._parts.query else ""
            connection.request("GET", quote(target, safe=_SAFE), headers=_HEADERS)
            with connection.getresponse() as response:
                return self._taken(response)
        finally:
            connection.close()

    @property
    def _port(self) -> int:
        return self._parts.port or (443 if self._parts.scheme == "https" else 80)

    def _addresses(self) -> list[tuple[int, Any]]:
        host = self._parts.hostname or ""
        wait = min(self._limits.timeout, self._deadline - time.monotonic())
        found = _within(wait, lambda: socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM))
        if isinstance(found, OSError | UnicodeError):
            raise ImageError(f"cannot be fetched: no server is called {host!r}")
        if not isinstance(found, list):
            raise ImageError(f"cannot be fetched: {host!r} could not be looked up within {self._limits.timeout:g} s")
        addresses = [(family, place) for family, _, _, _, place in found]
        for _, place in addresses:
            if not self._limits.private and not is_public(ipaddress.ip_address(place[0].partition("%")[0])):
                raise ImageError(
                    f"not fetched: {host} is {place[0]}, which is no public address; --allow-private allows it"
                )
        return addresses

    def _connected(self, addresses: list[tuple[int, Any]]) -> socket.socket:
        failure = OSError("no address")
        for family, place in addresses[:4]:
            plain = socket.socket(family, socket.SOCK_STREAM)
            self._socket = plain
            try:
                plain.settimeout(max(0.01, min(self._limits.timeout, self._deadline - time.monotonic())))
                plain.connect(place)
                return self._secured(plain) if self._parts.scheme == "https" else plain
            except OSError as error:
                self._socket.close()
                failure = error
                if self._late:
                    break
        raise failure

    def _secured(self, plain: socket.socket) -> socket.socket:
        secure = _trust().wrap_socket(plain, server_hostname=self._parts.hostname, do_handshake_on_connect=False)
        self._socket = secure  # known before the handshake, which can be cut off as well
        secure.do_handshake()
        return secure

    def _taken(self, response: HTTPResponse) -> bytes | str:
        if response.status in _REDIRECTS:
            target = response.headers.get("Location", "")
            if not target:
                raise ImageError(f"cannot be fetched: the server answers {response.status} and does not say where")
            return urljoin(self._url, target)
        if response.status != 200:
            raise ImageError(f"cannot be fetched: the server answers {response.status}")
        most = self._limits.most_bytes
        if (response.length or 0) > most:
            raise ImageError(f"not fetched: larger than {_size(most)} (--max-bytes)")
        content = bytearray()
        while chunk := response.read1(_CHUNK):
            content += chunk
            if len(content) > most:
                raise ImageError(f"not fetched: larger than {_size(most)} (--max-bytes)")
        if self._late:
            raise TimeoutError
        if response.length:  # what it announced and did not send
            raise ImageError("cannot be fetched: the connection broke")
        return bytes(content)

    def _cut(self) -> None:
        self._late = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # not TLS's own, which another thread is in

    def _reason(self, error: Exception) -> str:
        if self._late or time.monotonic() > self._deadline:
            return f"not done within {self._limits.total:g} s"
        if isinstance(error, TimeoutError):
            return f"no answer within {self._limits.timeout:g} s"
        if isinstance(error, HTTPException):
            return f"the server does not speak HTTP ({type(error).__name__})"
        if hasattr(error, "verify_message"):  # of SSLCertVerificationError, whose module is loaded only for https
            return f"the server's certificate is not trusted ({error.verify_message})"
        if isinstance(error, OSError):
            return (error.strerror or str(error) or type(error).__name__).lower()
        return "the server's answer makes no sense"


@cache
def _trust() -> "ssl.SSLContext":
    import ssl

    return ssl.create_default_context()


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ImageError("not fetched: the address makes no sense") from None
    if parts.scheme not in ("http", "https"):
        raise ImageError(f"not fetched: only http and https addresses are allowed, not {parts.scheme}")
    if parts.username is not None or parts.password is not None:
        raise ImageError("not fetched: an address with a user name or password is not allowed")
    if not parts.hostname:
        raise ImageError("not fetched: the address names no server")
    return parts


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` gives or raises, or None when it takes longer: no time limit reaches into the look-up of a name."""
    box: list[Any] = []

    def done() -> None:
        try:
            box.append(work())
        except (OSError, UnicodeError) as error:
            box.append(error)

    thread = threading.Thread(target=done, daemon=True, name="tl-look-up")
    thread.start()
    thread.join(max(0.0, seconds))
    return box[0] if box else None


def _size(count: int) -> str:
    return f"{count / 10**6:.0f} MB" if count >= 10**6 else f"{count:,} bytes"
