"""A Progress that records what is logged."""

from tl.progress import Progress


class Recorder(Progress):
    """Records every line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, topic: str, text: str) -> None:
        """Record a line as `topic: text`."""
        self.lines.append(f"{topic}: {text}")

    def warn(self, text: str) -> None:
        """Record a line as `warning: text`."""
        self.lines.append(f"warning: {text}")

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)
