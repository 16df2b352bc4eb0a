"""What is typed as an http or https address becomes an image that is fetched when it is read."""

from dataclasses import dataclass, field

from tl.datasets.limits import Limits


@dataclass(frozen=True)
class Fetched:
    """An image at an address, fetched when it is read."""

    url: str
    limits: Limits = field(default_factory=Limits)

    def read(self) -> bytes:
        """Its bytes. Raises ImageError with the reason for which they cannot be had."""
        from tl.data.url import fetch  # brings HTTP and TLS, which files do without

        return fetch(self.url, self.limits)


def is_address(text: str) -> bool:
    """Whether a text is meant as an address: it has a scheme, if not always one that is allowed."""
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.isascii() and scheme.replace("+", "").isalnum() and len(scheme) > 1
