"""What is typed as an http or https address becomes an image that is fetched when it is read."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """Seconds without an answer, seconds in all, bytes of an image; and whether private addresses may be asked."""

    timeout: float = 10.0
    total: float = 60.0
    most_bytes: int = 50 * 10**6
    private: bool = False
    offline: bool = False


@dataclass(frozen=True)
class Fetched:
    """An image at an address, fetched when it is read."""

    url: str
    limits: Limits = field(default_factory=Limits)

    def read(self) -> bytes:
        """Its bytes. Raises ImageError with the reason for which they cannot be had."""
        from tl.datasets.fetching import fetch  # brings HTTP and TLS, which files do without

        return fetch(self.url, self.limits)


def is_address(text: str) -> bool:
    """Whether a text is meant as an address: it has a scheme, if not always one that is allowed."""
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.isascii() and scheme.replace("+", "").isalnum() and len(scheme) > 1
