"""JPEGs without their end marker: taken where all of the picture is there, and only there."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tl.data import images
from tl.data.jpeg import lacks_only_its_end
from tl.errors import ImageError

PIXELS = np.kron(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
KINDS = {
    "baseline": {},
    "full colour": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 5},
    "turned": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
}


def jpeg(pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=85, **options)
    return out.getvalue()


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("at_least", [None, 16])
@pytest.mark.parametrize("missing", [1, 2])
def test_jpeg_without_end_marker_is_accepted(options, at_least, missing):
    content = jpeg(**options)
    assert content.endswith(b"\xff\xd9")
    taken = images.decode(content[:-missing], at_least)
    assert (taken == images.decode(content, at_least)).all()


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_jpeg_cut_before_its_end_is_refused(options):
    content = jpeg(**options)
    cuts = [len(content) - n for n in range(3, 60)] + list(range(650, len(content) - 60, 41))
    cuts += [at for at in range(650, len(content)) if content[at : at + 2] in (b"\xff\xda", b"\xff\xc4")]
    for cut in cuts:
        with pytest.raises(ImageError, match=r"^(truncated|damaged) JPEG$"):
            images.decode(content[:cut])


def test_progressive_jpeg_cut_between_scans_is_refused():
    import simplejpeg

    content = jpeg(progressive=True)
    cut = content[: content.rindex(b"\xff\xc4")]  # the tables of the last scan
    assert simplejpeg.decode_jpeg(cut + b"\xff\xd9", strict=True).shape == PIXELS.shape
    assert not lacks_only_its_end(cut)
    with pytest.raises(ImageError, match=r"^truncated JPEG$"):
        images.decode(cut)


def test_jpeg_with_a_scan_for_each_colour_needs_them_all():
    greys = [jpeg(np.ascontiguousarray(PIXELS[:, :, channel])) for channel in range(3)]
    frame, scan = greys[0].index(b"\xff\xc0"), greys[0].index(b"\xff\xda")
    size = greys[0][frame + 5 : frame + 9]
    components = b"\xff\xc0\x00\x11\x08" + size + b"\x03" + b"".join(bytes([at, 0x11, 0]) for at in (1, 2, 3))
    head = greys[0][:frame] + components + greys[0][frame + 13 : scan]
    scans = [
        b"\xff\xda\x00\x08\x01" + bytes([at]) + b"\x00\x00\x3f\x00" + grey[grey.index(b"\xff\xda") + 10 : -2]
        for at, grey in enumerate(greys, 1)
    ]
    whole = images.decode(head + b"".join(scans) + b"\xff\xd9")
    assert len(np.unique(whole.std(axis=2) > 20)) == 2  # it has colours
    assert (images.decode(head + b"".join(scans)) == whole).all()
    with pytest.raises(ImageError, match=r"^truncated JPEG$"):
        images.decode(head + b"".join(scans[:2]))


def test_lacks_only_its_end_is_false_for_other_content():
    content = jpeg()
    assert lacks_only_its_end(content[:-2])
    assert not lacks_only_its_end(content)
    assert not lacks_only_its_end(content + b"rubbish")
    for other in (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xda", b"\xff" * 5000, b"\xff\xd8" + b"\xff\xfe\0\2" * 20_000):
        assert not lacks_only_its_end(other)
    arithmetic = content[:-2].replace(b"\xff\xc0", b"\xff\xc9", 1)  # such codes never show that they are cut
    assert not lacks_only_its_end(arithmetic)
    twice = content[:-2].replace(b"\xff\xda", b"\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0\xff\xda", 1)
    assert not lacks_only_its_end(twice)
