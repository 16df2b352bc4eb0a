"""The options of `tl serve`, and the limits on requests, uploads and jobs."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tl.errors import UsageError
from tl.options import option, precision_option

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class RequestLimits:
    """Limits on one request; sizes in bytes, times in seconds.

    `body` is the size of one prediction request, `bodies` that of all in memory, `images` the number of files in it. A
    connection must send its headers within `header_seconds`, may pause in its body for `idle_seconds`, and must send
    the whole body of a prediction within `body_seconds`. `failures` is wrong keys per minute and address.
    """

    body: int = 64 * 10**6
    bodies: int = 512 * 10**6
    images: int = 64
    image: int = 32 * 10**6
    pixels: int = 50_000_000
    json: int = 10**6
    header_seconds: float = 10.0
    idle_seconds: float = 10.0
    body_seconds: float = 60.0
    connections: int = 512
    failures: int = 30
    decode_seconds: float = 5.0
    decode_memory: int = 1 << 30


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits on an uploaded archive: `files` in it, bytes `unpacked` and of one `member`, how many times its own size
    it may unpack to (`ratio`), `seconds` to unpack it, and bytes of disk space to `spare`.
    """

    files: int = 200_000
    unpacked: int = 50 * 10**9
    member: int = 200 * 10**6
    ratio: int = 200
    seconds: float = 3600.0
    spare: int = 10**9


@dataclass(frozen=True)
class TrainingLimits:
    """Limits on uploads and jobs; sizes in bytes, times in seconds.

    An upload may have `upload_bytes`, take `upload_seconds`, and pause for `idle_seconds`; `uploads` may run at the
    same time, and `datasets` are stored. A job may run for `job_seconds` and write `job_bytes`; it fails after
    `attempts` attempts in a row without progress; `waiting` jobs may be queued. `spare` bytes of the disk stay free.
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


@dataclass(frozen=True)
class ServeOptions:
    """The options of `tl serve`. `runs` names the runs to serve (none: always the newest one); `watch` is the seconds
    between two checks for a newer run, `decoders` the number of decoder processes.
    """

    host: str = option(
        "127.0.0.1", "Address to listen on; one that other machines can reach needs keys.", metavar="ADDRESS"
    )
    port: int = option(8000, "Port; 0 picks a free one.", low=0, high=65535, metavar="PORT")
    root: Path = option(Path("runs"), "Folder of the runs.", metavar="DIR")
    state: Path = option(Path("service"), "Folder for keys, data sets and jobs.", metavar="DIR")
    allow_host: tuple[str, ...] = option((), "Host names to answer to, besides the address.", metavar="NAME,…")
    tls_certificate: Path | None = option(None, "Certificate, for HTTPS.", metavar="PEM")
    tls_key: Path | None = option(None, "Private key of the certificate.", metavar="PEM")
    engine: str = option("openvino", "Inference engine.", choices=("auto", "openvino", "tensorflow"))
    precision: str = precision_option()
    batch: int = option(16, "Most images in a batch.", low=1, high=256, metavar="N")
    window: float = option(5.0, "Milliseconds a batch waits for images being decoded.", low=0, high=1000, metavar="MS")
    queue: int = option(512, "Images that may wait; more get a 429.", low=1, metavar="N")
    deadline: float = option(10.0, "Seconds until a request gets a 504.", low=0.1, high=600, metavar="SECONDS")
    rate: int = option(6000, "Requests per minute and key; 0 for no limit.", low=0, metavar="N")
    grace: float = option(30.0, "Seconds to finish requests when stopping.", low=0, high=3600, metavar="SECONDS")
    jobs: bool = option(True, "Run fine-tuning jobs.", off="--no-jobs")
    runs: tuple[str, ...] = ()
    decoders: int = field(default_factory=lambda: max(2, os.cpu_count() or 1))
    watch: float = 2.0
    limits: RequestLimits = field(default_factory=RequestLimits)
    training: TrainingLimits = field(default_factory=TrainingLimits)

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise UsageError("--tls-certificate and --tls-key belong together: give both, or neither")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in LOOPBACK

    @property
    def is_secure(self) -> bool:
        """Whether it speaks HTTPS."""
        return self.tls_certificate is not None
