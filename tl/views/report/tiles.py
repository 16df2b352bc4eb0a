"""Places of photos become what the page shows of each: picture, verdict, answer, truth."""

from dataclasses import dataclass

from tl.views.pages.report.predictions import Answers
from tl.views.report.photos import Album, Thumbnail
from tl.views.report.wording import brief, percent

_LONGEST = 40  # letters of a class below a photo: three lines


@dataclass(frozen=True)
class Tile:
    """A photo with what was answered; `truth_at` and `answer_at` are places among the classes.

    `second` is empty where the second best class is not known, or said already as the truth.
    """

    photo: Thumbnail | None
    name: str
    verdict: str
    unknown: bool
    answer: str
    confidence: str
    truth: str
    of_truth: str
    second: str
    of_second: str
    truth_at: int
    answer_at: int
    percent: str


def tile(answers: Answers, at: int, album: Album) -> Tile:
    """One photo of the page."""
    truth, answer, second = int(answers.truth[at]), int(answers.answer[at]), int(answers.second[at])
    classes, sure = answers.classes, float(answers.confidence[at])
    return Tile(
        album.thumbnail(answers.names[at]),
        brief(answers.names[at]),
        "right" if answers.right[at] else "wrong",
        bool(answers.unknown[at]),
        brief(classes[answer], _LONGEST),
        percent(sure),
        brief(classes[truth], _LONGEST),
        percent(answers.of_truth[at]),
        brief(classes[second], _LONGEST) if second not in (-1, truth) else "",
        percent(answers.of_second[at]),
        truth,
        answer,
        f"{100 * sure:.2f}",
    )
