"""Everything that `tl` refuses, as one tree of exceptions with one-line messages."""


class TLError(Exception):
    """An expected failure: the message names the input, what is allowed and what to do next."""

    exit_code = 1


class UsageError(TLError):
    """The command cannot mean what was typed: the arguments contradict each other or the input."""

    exit_code = 2


class DataError(TLError):
    """The data set as a whole cannot be used."""


class ImageError(TLError):
    """One image cannot be decoded; the message is the reason alone."""


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
    """A file cannot be written: the disk is full, or there is no permission."""


class ServiceError(TLError):
    """The service cannot be started or reached, or it refuses what was asked of it."""


class DownloadError(TLError):
    """A file cannot be fetched: no connection, a wrong checksum, or the network may not be used."""
