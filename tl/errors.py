"""Everything that `tl` refuses, as one tree of exceptions with one-line messages.

TLError                    exit code 1
├── UsageError             exit code 2: the command cannot mean what was typed
├── DataError              the data set as a whole cannot be used
├── ImageError             one image cannot be decoded; the message is the reason alone
├── BackboneError          no such backbone, or it cannot do what was asked
├── WeightsError           pretrained weights are missing, damaged, or of another network
├── EngineError            the network cannot be run as asked on this machine
├── CacheError             the cache cannot be read or written
├── RunError               a run folder is missing, damaged, too new, or in use
├── StorageError           a file cannot be written: disk full, no permission
├── ServiceError           the service cannot be started or reached, or refuses what was asked of it
└── DownloadError          a file cannot be fetched: no connection, wrong checksum, --offline
"""


class TLError(Exception):
    """An expected failure: the message names the input, what is allowed and what to do next."""

    exit_code = 1


class UsageError(TLError):
    """The arguments contradict each other or the input."""

    exit_code = 2


class DataError(TLError):
    """The data set as a whole cannot be used."""


class ImageError(TLError):
    """One image cannot be decoded."""


class BackboneError(TLError):
    """The backbone is unknown or cannot do what was asked."""


class WeightsError(TLError):
    """Pretrained weights are missing, damaged, or belong to another network."""


class EngineError(TLError):
    """The network cannot be run as asked on this machine."""


class CacheError(TLError):
    """The feature cache cannot be read or written."""


class RunError(TLError):
    """A run folder is missing, damaged, of a newer format, or in use by another process."""


class StorageError(TLError):
    """A file cannot be written."""


class ServiceError(TLError):
    """The service cannot be started or reached, or it refuses what was asked of it."""


class DownloadError(TLError):
    """A file cannot be fetched: no connection, a wrong checksum, or the network may not be used."""
