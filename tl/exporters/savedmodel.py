"""Export a run as a TensorFlow SavedModel with signatures for TensorFlow Serving.

`serving_default` takes the bytes of image files and returns labels; `pixels` takes decoded images.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl.data.colour import DEPTHS, FAINT, HIDDEN
from tl.engines.tensorflow import tensorflow
from tl.exporters.formats import METADATA, Classify, ExportJob, Pixels, Probabilities
from tl.exporters.network import RunModels, build_models, silence

_EXIF_WITHIN = 1 << 18  # bytes in which EXIF data begin
_EXIF = tuple((at, value) for at, value in enumerate(b"\xff\xe1..Exif\0\0") if at not in (2, 3))  # no length


def write(job: ExportJob) -> None:
    """Write the folder, a version for TensorFlow Serving, with the metadata in `assets.extra`."""
    tf = tensorflow()
    models = build_models(job.run, job.progress)
    module = tf.Module()
    module.pixels, module.trunk, module.head = models.pixels, models.trunk, models.head
    signatures = {"serving_default": _from_bytes(tf, models, job.run.classes), "pixels": _from_pixels(tf, models)}
    with silence():
        tf.saved_model.save(module, str(job.path), signatures=signatures)
    extra = job.path / "assets.extra"
    extra.mkdir()
    text = json.dumps(job.metadata, indent=1, ensure_ascii=False)
    (extra / METADATA).write_text(text, encoding="utf-8", errors="replace")


def load(path: Path) -> Classify:
    """The folder, loaded by TensorFlow, by its signature `pixels`."""
    tf = tensorflow()
    loaded = tf.saved_model.load(str(path))

    def classify(images: Pixels) -> Probabilities:
        outputs = loaded.signatures["pixels"](photos=tf.constant(images))
        return np.asarray(outputs["probabilities"], np.float32)

    return classify


def _from_pixels(tf: Any, models: RunModels) -> Any:
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="photos")])  # type: ignore[untyped-decorator]
    def pixels(photos: Any) -> dict[str, Any]:
        resized = models.pixels(photos, training=False)
        return {"probabilities": models.head(models.trunk(resized, training=False), training=False)}

    return pixels


def _from_bytes(tf: Any, models: RunModels, classes: Sequence[str]) -> Any:
    size = models.pixels.output.shape[1]
    names = tf.constant([name.encode("utf-8", "replace") for name in classes])

    def resized(content: Any) -> Any:
        return models.pixels(_decode(tf, content)[None], training=False)[0]

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])  # type: ignore[untyped-decorator]
    def serve(image_bytes: Any) -> dict[str, Any]:
        spec = tf.TensorSpec((size, size, 3), tf.float32)
        images = tf.map_fn(resized, image_bytes, fn_output_signature=spec)
        probabilities = models.head(models.trunk(images, training=False), training=False)
        best = tf.argmax(probabilities, axis=1)
        return {
            "labels": tf.gather(names, best),
            "confidences": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
        }

    return serve


def _decode(tf: Any, content: Any) -> Any:
    """The bytes of one image as RGB `[height, width, 3]`; PNGs as `tl.data.colour` says, but for their profiles."""

    def byte(at: int) -> Any:
        return tf.io.decode_raw(tf.strings.substr(content, at, 1), tf.uint8)[0]

    def starts(with_: bytes) -> Any:
        return tf.equal(tf.strings.substr(content, 0, len(with_)), with_)

    def jpeg() -> Any:
        return _upright(tf, tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"), content)

    def transparent() -> Any:
        # 16 bits, to which 8 are widened by 257: TensorFlow would cut them off instead of rounding.
        image = tf.cast(tf.io.decode_png(content, channels=4, dtype=tf.uint16), tf.int64)
        is_deep = tf.equal(byte(24), 16)
        return _over_ground(tf, *(_to_bytes(tf, part, is_deep) for part in (image[..., :3], image[..., 3:])))

    def png() -> Any:
        # For grey of less than 8 bits TensorFlow returns an alpha of 1, 3 or 15 instead of 255.
        is_grey = tf.logical_and(byte(24) < 8, tf.equal(byte(25), 0))
        return tf.cond(is_grey, lambda: tf.io.decode_png(content, channels=3), transparent)

    def bmp() -> Any:
        # TensorFlow would read palette indices as grey.
        fault = "a BMP with a palette: send it as PNG, or in 24 bits"
        with tf.control_dependencies([tf.debugging.Assert(byte(28) >= 24, [fault])]):
            return tf.io.decode_bmp(tf.identity(content), channels=3)

    def other() -> Any:
        return tf.io.decode_image(content, channels=3, expand_animations=False)

    kinds = [(tf.io.is_jpeg(content), jpeg), (starts(b"\x89PNG"), png), (starts(b"BM"), bmp)]
    return tf.ensure_shape(tf.case(kinds, default=other), (None, None, 3))


def _upright(tf: Any, image: Any, content: Any) -> Any:
    """The pixels of a JPEG rotated as its EXIF data say."""
    how = _orientation(tf, content)

    def if_one_of(values: Sequence[int], changed: Any, image: Any) -> Any:
        return tf.cond(tf.reduce_any(tf.equal(how, values)), lambda: changed(image), lambda: image)

    image = if_one_of((5, 6, 7, 8), lambda pixels: tf.transpose(pixels, (1, 0, 2)), image)
    image = if_one_of((3, 4, 7, 8), lambda pixels: tf.reverse(pixels, (0,)), image)
    return if_one_of((2, 3, 6, 7), lambda pixels: tf.reverse(pixels, (1,)), image)


def _orientation(tf: Any, content: Any) -> Any:
    """The EXIF orientation of a JPEG, as `tl.data.jpeg.orientation` reads it; 0 if there is none."""
    start = tf.strings.substr(content, 0, tf.minimum(tf.strings.length(content), _EXIF_WITHIN))
    data = tf.cast(tf.concat([tf.io.decode_raw(start, tf.uint8), tf.zeros(32, tf.uint8)], 0), tf.int64)
    last = tf.size(data, tf.int64) - 32
    marks = [tf.equal(data[at : last + at], value) for at, value in _EXIF]
    at = tf.argmax(tf.cast(tf.reduce_all(marks, 0), tf.int32)) + 10  # after the marker, its length and "Exif"
    is_big = tf.equal(data[at], ord("M"))

    def number(values: Any) -> Any:
        ordered = tf.where(is_big, values, tf.reverse(values, (-1,)))
        return tf.reduce_sum(ordered * [256**place for place in reversed(range(values.shape[-1]))], -1)

    table = tf.minimum(at + number(tf.ensure_shape(data[at + 4 : at + 8], (4,))), last)
    entries = tf.minimum(number(tf.ensure_shape(data[table : table + 2], (2,))), (last + 30 - table) // 12)
    tags = tf.reshape(data[table + 2 : table + 2 + 12 * entries], (-1, 12))
    is_it = tf.logical_and(tf.equal(number(tags[:, :2]), 0x0112), tf.reduce_any(tf.reduce_all(marks, 0)))
    return tf.reduce_max(tf.pad(tf.where(is_it, number(tags[:, 8:10]), 0), [[0, 1]]))


def _to_bytes(tf: Any, values: Any, is_deep: Any) -> Any:
    """Values of up to 16 bits as those of 8, as `tl.data.colour.to_bytes` scales them."""
    tops = tf.constant([(1 << depth) - 1 for depth in DEPTHS], tf.int64)
    least = tf.reduce_min(tf.boolean_mask(tops, tops >= tf.reduce_max(values)))
    top = tf.where(is_deep, least, tops[-1])
    return (values * 255 + top // 2) // top


def _over_ground(tf: Any, colours: Any, alpha: Any) -> Any:
    """Transparent parts over white, or over black, as `tl.data.colour.over_ground` does."""
    on_white = tf.reduce_sum(alpha * tf.cast(tf.reduce_min(colours, 2, True) < 256 - FAINT, tf.int64))
    on_black = tf.reduce_sum(alpha * tf.cast(tf.reduce_max(colours, 2, True) >= FAINT, tf.int64))
    is_hidden = tf.cast(on_white, tf.float64) < HIDDEN * tf.cast(on_black, tf.float64)
    opaque, ground = tf.cast(alpha, tf.float32) / 255.0, tf.where(is_hidden, 0.0, 255.0)
    return tf.cast(tf.round(tf.cast(colours, tf.float32) * opaque + ground * (1.0 - opaque)), tf.uint8)
