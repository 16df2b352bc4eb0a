"""What the routes of one application share, by name: `of(request)`."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request

from tl.service.database import Database
from tl.service.options import Options

if TYPE_CHECKING:
    from tl.service.decoding import Decoders
    from tl.service.metrics import Metrics
    from tl.service.models import Models

_MEMORY = 0.05  # what the newest request counts in the pace


@dataclass
class Shared:
    """The parts of a running application; `pending` photos are under way, `pace` of them are answered in a second,
    and `receiving` bytes of bodies are held.

    It is `ready` while photos are answered; what would go on for ever watches `stopping`.
    """

    options: Options
    database: Database
    metrics: "Metrics"
    models: "Models"
    decoders: "Decoders"
    pending: int = 0
    pace: float = 10.0
    receiving: int = 0
    ready: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def left(self, count: int, seconds: float) -> None:
        """So many photos are under way no longer, after so many seconds."""
        pace = self.pending / max(seconds, 1e-3)  # Little's law
        self.pending -= count
        self.pace += _MEMORY * (pace - self.pace)


def of(request: Request) -> Shared:
    """The application's shared parts."""
    shared: Shared = request.app.state.shared
    return shared
