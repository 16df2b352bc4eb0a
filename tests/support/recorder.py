"""A Progress that records what is logged."""

from tl.progress import Progress


class Recorder(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, topic: str, text: str) -> None:
        self.lines.append(f"{topic}: {text}")

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)
