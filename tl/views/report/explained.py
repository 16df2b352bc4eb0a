"""The worst errors become their photos beside what spoke for the wrong answer (Grad-CAM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tl.errors import TLError
from tl.runs import run as bundle
from tl.runs.run import Run
from tl.views.pages.report.predictions import Answers
from tl.views.report.photos import Album, Image, Thumbnail, thumbnail
from tl.views.report.tiles import Tile, tile

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tl.evaluation.gradcam import Explainer

SIDE = 224  # pixels of the longer side


@dataclass(frozen=True)
class Explained:
    """An error: what was answered, the photo, and the photo under its heat map, where that could be made."""

    tile: Tile
    photo: Thumbnail | None
    heat: Thumbnail | None


def explained(
    run: Run, answers: Answers, places: Sequence[int], album: Album, made: "Future[Explainer]"
) -> tuple[list[Explained], str]:
    """The photos at these places with what spoke for their answers, and why some have none, in words or empty."""
    photos = [album.image(answers.names[at]) for at in places]
    if all(photo is None for photo in photos):
        return [Explained(tile(answers, at, album), None, None) for at in places], ""
    try:
        explainer: Explainer | None = made.result()
        reason = ""
    except TLError as error:
        explainer, reason = None, str(error)
    shown = []
    for at, photo in zip(places, photos, strict=True):
        heat = None
        if explainer is not None and photo is not None:
            try:
                heat = _heat(explainer, run, photo, int(answers.answer[at]))
            except TLError as error:
                reason = str(error)
        plain = None if photo is None else thumbnail(photo, SIDE)
        shown.append(Explained(tile(answers, at, album), plain, heat))
    return shown, reason


def explainer_of(run: Run, *, checked: bool = False) -> "Explainer":
    """The network of a run, ready to say why; unless they were `checked` just now, its files are.

    Raises RunError for a damaged run, EngineError for a network that cannot be explained.
    """
    from tl.evaluation.gradcam import Explainer

    if not checked:
        bundle.check(run)
    return Explainer(run.trunk, run.backbone.recipe, run.head, precision="auto")


def _heat(explainer: "Explainer", run: Run, photo: Image, label: int) -> Thumbnail:
    from tl.workflows.explain import overlay

    (explanation,) = explainer.explain([photo], [label])
    return thumbnail(overlay(photo, explanation, run.backbone.recipe), SIDE)
