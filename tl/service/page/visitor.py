"""`GET /v1/me`: a key becomes what its holder may do here, and within which limits."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from tl import __version__
from tl.networks.backbones import BACKBONES
from tl.service.keys import Key
from tl.service.problems import documented
from tl.service.security import LOCAL, needs
from tl.service.state import of

router = APIRouter(tags=["operation"])


class Me(BaseModel):
    """Who asks, and what a client has to know beforehand; sizes in bytes."""

    name: str
    role: str
    keys: bool = Field(description="Whether this service asks for keys")
    jobs: bool = Field(description="Whether this service fine-tunes")
    images: int = Field(description="Of one prediction, at most")
    image_bytes: int
    body_bytes: int
    upload_bytes: int
    backbones: list[str]
    version: str


@router.get("/v1/me", response_model=Me, responses=documented(), summary="What this key may do")
async def me(request: Request, key: Annotated[Key, Depends(needs("predict"))]) -> Me:
    """The name and the role of the key, and the limits of the service."""
    options = of(request).options
    return Me(
        name=key.name,
        role=key.role,
        keys=key != LOCAL,
        jobs=options.workers,
        images=options.limits.images,
        image_bytes=options.limits.image,
        body_bytes=options.limits.body,
        upload_bytes=options.allowances.upload_bytes,
        backbones=sorted(BACKBONES),
        version=__version__,
    )
