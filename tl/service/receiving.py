"""The body of a request, in pieces as they come, becomes a file: as it is, or the one file of a multipart form."""

from pathlib import Path
from typing import Any

from tl.service.problems import Problem

_FIELDS, _PARTS, _HEADERS = 4096, 16, 8192


class Receiver:
    """Writes what it is fed to `path`, up to `most` bytes; then `name` is what the sender called it, or ""."""

    def __init__(self, path: Path, content_type: str, most: int) -> None:
        self.name, self.folder = "", path.parent
        self._most, self._size, self._received = most, 0, 0
        self._file = path.open("xb")
        self._form = _Form(self, content_type) if content_type.lower().startswith("multipart/") else None

    def feed(self, content: bytes) -> None:
        """The next piece. Raises Problem for what is too large or no form."""
        self._received += len(content)
        if self._received > self._most + (1 << 16):
            raise too_large(self._most)
        if self._form is not None:
            self._form.feed(content)
        else:
            self.write(content)

    def write(self, content: bytes) -> None:
        """A piece of the file itself."""
        self._size += len(content)
        if self._size > self._most:
            raise too_large(self._most)
        self._file.write(content)

    def finish(self) -> None:
        """All has come. Raises Problem where that was nothing."""
        if self._form is not None:
            self._form.finish()
        self.close()
        if not self._size:
            raise Problem(400, "no archive was sent: send one as the body, or as the field `file` of a form")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Form:
    """multipart/form-data: one file, and the field `name`."""

    def __init__(self, receiver: Receiver, content_type: str) -> None:
        from python_multipart.multipart import MultipartParser, parse_options_header

        self._receiver, self._options = receiver, parse_options_header
        boundary = self._options(content_type)[1].get(b"boundary")
        if not boundary:
            raise Problem(400, "the form has no boundary: let your HTTP client make the Content-Type")
        self._kind, self._field, self._text = "", "", b""
        self._parts, self._files, self._ended = 0, 0, False
        self._header: list[bytes] = [b"", b""]
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": lambda data, start, end: self._data(data[start:end]),
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, content: bytes) -> None:
        from python_multipart.exceptions import FormParserError

        try:
            self._parser.write(content)
        except FormParserError as error:
            raise Problem(400, f"the form cannot be read ({str(error)[:100]})") from error

    def finish(self) -> None:
        if not self._ended:
            raise Problem(400, "the form ends too early")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise Problem(400, f"the form has more than {_PARTS} parts: one file, and its name")
        self._kind, self._field, self._text, self._disposition = "field", "", b"", b""
        self._header = [b"", b""]

    def _add(self, which: int, content: bytes) -> None:
        self._header[which] += content
        if len(self._header[which]) > _HEADERS:
            raise Problem(400, "the form has a header larger than any needs")

    def _end_header(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        found: dict[bytes, Any] = self._options(self._disposition)[1]
        self._field = found.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in found:
            return
        self._kind = "file"
        self._files += 1
        if self._files > 1:
            raise Problem(400, "the form has more than one file: pack them as one archive")
        if not self._receiver.name:
            self._receiver.name = stem(found[b"filename"].decode("utf-8", "replace"))

    def _data(self, content: bytes) -> None:
        if self._kind == "file":
            self._receiver.write(content)
        else:
            self._text += content
            if len(self._text) > _FIELDS:
                raise Problem(400, f"the form's field {self._field[:40]!r} is longer than {_FIELDS} bytes")

    def _end_part(self) -> None:
        if self._kind == "field" and self._field == "name":
            self._receiver.name = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def stem(file: str) -> str:
    """What an archive is called without its folders and endings."""
    name = file.replace("\\", "/").rpartition("/")[2]
    for ending in (".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def too_large(most: int) -> Problem:
    """The refusal of a body beyond the limit."""
    return Problem(413, f"the archive is larger than the {most:,} bytes that are taken", {"Connection": "close"})
