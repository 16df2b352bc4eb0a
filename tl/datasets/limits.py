"""What fetching an image from an address may take, and from where."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds without an answer, seconds in all, bytes of an image; and whether private addresses may be asked."""

    timeout: float = 10.0
    total: float = 60.0
    most_bytes: int = 50 * 10**6
    private: bool = False
    offline: bool = False
