"""What an operator may choose about the service, with its limits: one frozen value that every part is given."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tl.errors import UsageError
from tl.service.archives import Limits as ArchiveLimits


@dataclass(frozen=True)
class Allowances:
    """Limits on uploads and jobs; sizes in bytes, times in seconds.

    An upload may have `upload_bytes`, take `upload_seconds`, and pause for `idle_seconds`; so many `uploads` run side
    by side, and so many `datasets` are kept. A job may run for `job_seconds` and write `job_bytes`, its process may
    come to nothing `attempts` times in a row, and so many jobs may be `waiting`. `spare` bytes of the disk stay free.
    """

    upload_bytes: int = 20 * 10**9
    upload_seconds: float = 3600.0
    idle_seconds: float = 30.0
    uploads: int = 4
    datasets: int = 1000
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    job_seconds: float = 24 * 3600.0
    job_bytes: int = 20 * 10**9
    attempts: int = 3
    waiting: int = 100
    spare: int = 10**9


LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Limits:
    """What one request may take: sizes in bytes, times in seconds, `rate` in requests a minute and key (0: any).

    `body` is of one prediction, `bodies` of all that are under way, `images` of a prediction's files. A connection must
    have sent its headers after `header_seconds` and may pause in its body for `idle_seconds`; `body_seconds` is for the
    whole body of a prediction. `failures` are wrong keys a minute and address.
    """

    body: int = 64 << 20
    bodies: int = 512 << 20
    images: int = 64
    image: int = 32 << 20
    pixels: int = 50_000_000
    json: int = 1 << 20
    header_seconds: float = 10.0
    idle_seconds: float = 10.0
    body_seconds: float = 60.0
    connections: int = 512
    rate: int = 6000
    failures: int = 30
    decode_seconds: float = 5.0
    decode_memory: int = 1 << 30


@dataclass(frozen=True)
class Options:
    """How to serve: which `runs` of the folder `root` (none: the newest), where to listen, what to gather.

    `window` is the most seconds that a batch waits for photos that are on their way, `batch` and `queue` are photos,
    `deadline` the seconds after which an answer is no longer wanted unless a request says otherwise. `hosts` are names
    by which the service may be called beside its address; `state` holds the database, data sets and jobs.
    """

    runs: tuple[str, ...] = ()
    root: Path = Path("runs")
    state: Path = Path("service")
    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    engine: str = "openvino"
    precision: str = "auto"
    batch: int = 16
    window: float = 0.005
    queue: int = 512
    deadline: float = 10.0
    decoders: int = field(default_factory=lambda: max(2, os.cpu_count() or 1))
    watch: float = 2.0
    grace: float = 30.0
    workers: bool = True
    limits: Limits = field(default_factory=Limits)
    allowances: Allowances = field(default_factory=Allowances)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise UsageError("--tls-certificate and --tls-key belong together: give both, or none")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port {self.port}: a port lies between 0 (any that is free) and 65535")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in LOOPBACK

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.certificate is not None
