"""Images that are no files: bytes that are here already, and those that cannot be had."""

from dataclasses import dataclass

from tl.errors import ImageError


@dataclass(frozen=True)
class Given:
    """An encoded image, as standard input gives it."""

    content: bytes

    def read(self) -> bytes:
        """Its bytes."""
        return self.content


@dataclass(frozen=True)
class Failed:
    """What takes the place of an image that cannot be had: reading it gives the reason."""

    reason: str

    def read(self) -> bytes:
        """Raises ImageError with the reason."""
        raise ImageError(self.reason)
