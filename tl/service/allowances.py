"""What one data set and one job may take of the machine."""

from dataclasses import dataclass, field

from tl.service.members import Limits


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
    archive: Limits = field(default_factory=Limits)
    job_seconds: float = 24 * 3600.0
    job_bytes: int = 20 * 10**9
    attempts: int = 3
    waiting: int = 100
    spare: int = 10**9
