"""The segments of a JPEG become the answer to one question: have its scans brought every bit of every coefficient?

libjpeg cannot tell: a progressive picture that was cut between two scans decodes without a warning, only coarser, and
one with a scan for each colour decodes as grey.
"""

import re

# A marker is FF and a code; FF 00, FF FF and the restart markers belong to the data that they stand in.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive, in Huffman codes, which show where they are cut
_ENDING = (
    *(0xD9, 0xD8, 0x01),  # the end marker itself, and what has no place inside a picture
    *(0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF),  # frames of other codes
)
_MOST_SEGMENTS = 10_000
_COEFFICIENTS = range(64)


def lacks_only_its_end(content: bytes) -> bool:
    """Whether a JPEG has no end marker though the scans that it has started are all that it needs.

    Says nothing of the last scan, which may itself be cut: its decoder knows. Source: ITU-T T.81, annexes B and G.
    """
    components = b""
    missing: dict[tuple[int, int], int] = {}  # how many bits are still to come, by component and coefficient
    at = 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(content, at)
        if found is None:
            wanted = [(component, k) for component in components for k in _COEFFICIENTS]
            return bool(wanted) and all(missing.get(one) == 0 for one in wanted)
        code, start = content[found.end() - 1], found.end()
        length = int.from_bytes(content[start : start + 2], "big")
        body = content[start + 2 : start + length]
        at = start + length
        if code in _ENDING or length < 2 or (code in _FRAMES and components):
            return False
        if code in _FRAMES:
            components = body[6::3]
        elif code == _SCAN:
            missing.update(_after(body))
    return False


def _after(scan: bytes) -> dict[tuple[int, int], int]:
    count = scan[0] if scan else 0
    if not 1 <= count <= 4 or len(scan) != 4 + 2 * count:
        return {}
    first, last, bits = scan[-3:]
    return {(component, k): bits & 15 for component in scan[1:-3:2] for k in _COEFFICIENTS if first <= k <= last}
