"""What the routes of one application share: `state_of(request)`."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request

from tl.service.database import Database
from tl.service.options import ServeOptions

if TYPE_CHECKING:
    from tl.service.decoding import Decoders
    from tl.service.models import Models
    from tl.service.monitoring import ServiceMetrics

_SMOOTHING = 0.05  # weight of the newest request in the throughput


@dataclass
class ServiceState:
    """The parts of a running application.

    `pending` images are in work, and about `throughput` of them are answered per second; `receiving` bytes of request
    bodies are in memory; `uploads` of data sets run, and `listeners` follow jobs. `ready` is true while images are
    answered; endless streams watch `stopping`.
    """

    options: ServeOptions
    database: Database
    metrics: "ServiceMetrics"
    models: "Models"
    decoders: "Decoders"
    pending: int = 0
    throughput: float = 10.0
    receiving: int = 0
    uploads: int = 0
    listeners: int = 0
    ready: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, count: int, seconds: float) -> None:
        """Record that `count` images are done, `seconds` after they were accepted."""
        rate = self.pending / max(seconds, 1e-3)  # Little's law
        self.pending -= count
        self.throughput += _SMOOTHING * (rate - self.throughput)


def state_of(request: Request) -> ServiceState:
    """The state of the application that received the request."""
    state: ServiceState = request.app.state.service
    return state
