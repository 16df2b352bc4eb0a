"""A proof becomes what is said of it, and what is let pass: how far an export may be from its run."""

from collections.abc import Iterator

from tl.exporters.proof import Change, Proof

BOUND = 0.01
"""One point of confidence, and one percent of log-odds: rounding moves both by less than a tenth of that, another order
of colours, mean or resize either by more, of a run that is unsure the one, of a run that is sure the other."""

INT8_BOUND = 0.02
"""Two points of accuracy: int8 costs a convolutional network about one. One photo is always let pass, which on few
photos is more than that."""

_SHOWN = 12  # changed labels; export.json has all
_NAME = 34  # columns


def beyond(proof: Proof, bound: float, int8: bool) -> str:
    """Why a proof is not let pass; empty where it is."""
    if not int8:
        if not proof.largest <= bound:
            return f"a probability differs by {_small(proof.largest)} on {proof.worst}, {bound:g} is let pass"
        told = f"log-odds differ by {100 * proof.log_odds:.2g} % of their size, {100 * bound:g} % is let pass"
        return told if not proof.log_odds <= bound else ""
    lost = proof.comparison.lost - proof.comparison.gained
    told = f"it gets {lost:,} fewer of {_photos(proof.count)} right, {100 * bound:g} % are let pass"
    return told if lost > max(1.0, bound * proof.count) else ""


def lines(proof: Proof, runtime: str, bound: float, calibrated: int) -> Iterator[tuple[str, str]]:
    """Topic and text of each line."""
    yield "proved", f"by {runtime} on {_photos(proof.count)} of the {proof.part} part, against the run in f32"
    if proof.lost or proof.unreadable:
        yield "", f"{_photos(proof.lost + proof.unreadable)} of it are not there as they were, and prove nothing"
    passing = "" if calibrated else f"; {bound:g} is let pass"
    yield "difference", f"of a probability: largest {_small(proof.largest)}, mean {_small(proof.mean)}{passing}"
    if proof.shrunk:
        large = "1 large JPEG, which" if proof.shrunk == 1 else f"{proof.shrunk:,} large JPEGs, which"
        yield "", f"on {large} `tl predict` shrinks while decoding: {_small(proof.shrunk_largest)} from what it says"
    passing = "" if calibrated else f"; {100 * bound:g} % is let pass"
    yield "log-odds", f"differ by {100 * proof.log_odds:.2g} % of their size{passing}"
    yield from _labels(proof)
    if calibrated:
        yield from _int8(proof, bound, calibrated)
    if proof.our_rate and proof.their_rate:
        yield "speed", f"{proof.their_rate:.3g} photos/s, tl {proof.our_rate:.3g}, from pixels to answers, in turn"


def _labels(proof: Proof) -> Iterator[tuple[str, str]]:
    if not proof.changes:
        yield "labels", "the same on every photo"
        return
    yield "labels", f"{_photos(len(proof.changes))} of {proof.count:,} labelled otherwise:"
    for change in proof.changes[:_SHOWN]:
        yield "", _change(change)
    if len(proof.changes) > _SHOWN:
        yield "", f"and {len(proof.changes) - _SHOWN:,} more, in export.json"


def _change(change: Change) -> str:
    name = change.photo if len(change.photo) <= _NAME else "…" + change.photo[1 - _NAME :]
    sure, less = 100 * change.our_confidence, 100 * change.their_confidence
    return f"{name}: {change.ours} {sure:.1f} %, export {change.theirs} {less:.1f} %"


def _int8(proof: Proof, bound: float, calibrated: int) -> Iterator[tuple[str, str]]:
    value, low, high = (100 * share for share in proof.accuracy_lost)
    ours, theirs = (100 * hits / proof.count for hits in (proof.our_hits, proof.their_hits))
    yield "int8", f"calibrated on {_photos(calibrated)} of the training part"
    interval = f"95 % interval {low:.1f} to {high:.1f}; McNemar's p {_p(proof.comparison.p_value)}"
    yield "accuracy", f"{ours:.1f} % of the run, {theirs:.1f} % of the export: lost {value:.1f} points ({interval})"
    yield "", f"{100 * bound:g} points are let pass, and one photo always"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def _small(value: float) -> str:
    return f"{value:.1g}" if value < 0.001 else f"{value:.3f}"


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"
