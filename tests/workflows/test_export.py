"""`tl export`: every format predicts what its run does, in its own runtime, and one that does not is not kept."""

import hashlib
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import ExifTags, Image

from support.image_kinds import deep_png, encoded, white_drawing
from support.runs import change_head, change_run
from support.session import ROOT
from tl.data.images import decode, read
from tl.errors import EngineError, RunError, StorageError, UsageError
from tl.exporters.formats import FORMATS
from tl.exporters.proof import lines
from tl.exporters.savedmodel import _orientation
from tl.networks.backbones import BACKBONES, backbone
from tl.prediction.predictor import Predictor
from tl.runs.catalogue import find_removals, list_runs, remove
from tl.runs.run import TUNED, Run, load_run, write_run
from tl.workflows.export import export


def needs(name: str, int8: bool = False) -> None:
    try:
        FORMATS[name].check(int8)
    except EngineError as error:
        pytest.skip(str(error))


SMALL = ("--backbone", "simple-cnn", "--weights", "none")


@pytest.fixture(scope="module")
def small_run(tl, shapes, tmp_path_factory) -> Path:
    """A run of the simplest network, at 32 pixels, from random weights, with every part that a head can have."""
    folder = tmp_path_factory.mktemp("small")
    tl("finetune", shapes, *SMALL, cwd=folder, expect=0)
    run = (folder / "runs" / "latest").resolve()

    def completed(head):
        random, features = np.random.default_rng(0), len(head["kernel"])
        kernel = random.normal(size=(features + 1000, head["kernel"].shape[1])).astype(np.float32)
        return {"normalized_kernel": kernel, "imagenet": random.normal(size=(features, 1000)).astype(np.float16)}

    change_head(run, completed)
    return run


@pytest.fixture(scope="module")
def bgr_run(tl, shapes, tmp_path_factory) -> Path:
    """The same with the preprocessing of ResNet50: blue first, and each channel with a mean of its own."""
    folder = tmp_path_factory.mktemp("bgr")
    recipe = replace(backbone("simple-cnn").recipe, bgr=True, mean=(90.0, 110.0, 130.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "simple-cnn", replace(backbone("simple-cnn"), recipe=recipe))
        tl("finetune", shapes, *SMALL, cwd=folder, expect=0)
    return (folder / "runs" / "latest").resolve()


@pytest.fixture
def own(small_run, tmp_path) -> Path:
    """A copy of that run that a test may change."""
    return Path(shutil.copytree(small_run, tmp_path / "runs" / "own"))


def expected(run: Path, image: np.ndarray) -> np.ndarray:
    """The probabilities of the run itself for an image, in f32, in the order of its classes."""
    opened = load_run(run)
    (prediction,) = Predictor(opened, engine="openvino", precision="f32").predict([image], top=len(opened.classes))
    probabilities = dict(prediction.top)
    return np.array([probabilities[name] for name in opened.classes])


IMAGES = [
    np.random.default_rng(0).integers(0, (30, 30, 256), shape, np.uint8)
    for shape in ((90, 31, 3), (20, 25, 3), (32, 32, 3))
]


def keras(path):
    import keras

    return keras.saving.load_model(path).predict_on_batch


def savedmodel(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda photos: loaded.signatures["pixels"](photos=tf.constant(photos))["probabilities"].numpy()


def onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda photos: session.run(None, {"photos": photos})[0]


def openvino(path):
    import openvino as ov

    network = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda photos: network({"photos": photos})["probabilities"]


def litert(path):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()
    return lambda photos: runner(photos=photos)["probabilities"]


@pytest.fixture(scope="module")
def exported(bgr_run, tmp_path_factory):
    """The run in a format, written once: `exported("onnx")`."""
    run = Path(shutil.copytree(bgr_run, tmp_path_factory.mktemp("exported") / "own"))
    exports = {}

    def get(name: str, int8: bool = False):
        needs(name, int8)
        if (name, int8) not in exports:
            exports[name, int8] = export(run, to=name, int8=int8)
        return exports[name, int8]

    return get


@pytest.mark.parametrize("name", list(FORMATS))
def test_export_predicts_what_the_run_does(exported, bgr_run, name):
    made = exported(name)
    assert made.folder.parts[-2:] == ("export", name)
    assert made.proof.largest < 0.01
    assert made.proof.changes == ()
    record = json.loads((made.folder / "export.json").read_text())
    assert record["proof"]["count"] == 4
    for about in (record["about"], metadata(name, made.model)):
        assert (about["classes"], about["run"], about["image_size"]) == (["noise", "stripes"], "own", 32)
    classify = globals()[name](made.model)  # as the documents say, without `tl`
    for photo in IMAGES:
        ours = expected(bgr_run, photo)
        assert np.abs(expected(bgr_run, photo[..., ::-1]) - ours).max() > 0.02  # a wrong order of colours would show
        for count in (1, 3):
            theirs = classify(np.stack([photo] * count))
            assert (theirs.shape, theirs.dtype) == ((count, 2), np.float32)
            assert np.abs(theirs - ours).max() < 0.01


def metadata(name: str, path: Path) -> dict:
    """The metadata of an export, read as its users would."""
    if name in ("keras", "litert"):
        return json.loads(ZipFile(path).read("classifier.json"))
    if name == "savedmodel":
        return json.loads((path / "assets.extra" / "classifier.json").read_text())
    if name == "onnx":
        import onnxruntime

        result = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
        return {"classes": json.loads(result["classes"]), "run": result["run"], "image_size": int(result["image_size"])}
    import openvino as ov

    return json.loads(ov.Core().read_model(path).get_rt_info(["classifier"]).astype(str))


@pytest.mark.parametrize("name", [each.name for each in FORMATS.values() if each.int8])
def test_int8_export_is_calibrated_and_shows_its_accuracy(exported, shapes, name):
    made = exported(name, int8=True)
    assert (made.folder.name, made.calibrated) == (f"{name}-int8", 20)
    result = dict(lines(made.proof, made.runtime, made.tolerance, made.calibrated))
    assert result["int8"] == "calibrated on 20 training images"
    assert "of the run" in result["accuracy"]
    record = json.loads((made.folder / "export.json").read_text())
    assert record["proof"]["accuracy_lost_interval"][0] <= record["proof"]["accuracy_lost"]
    assert record["tolerance"]["on"] == "accuracy lost"
    assert made.size < exported(name).size  # a third of the weights are resizing and head
    photo = decode(read(shapes / "stripes" / "00.png"))
    assert globals()[name](made.model)(photo[None]).argmax() == 1


@pytest.fixture
def serve(exported):
    """The export for TensorFlow Serving: from the bytes of files to its answers."""
    made = exported("savedmodel")
    import tensorflow as tf

    assert made.model.name == "1"  # TensorFlow Serving asks for a version
    loaded = tf.saved_model.load(str(made.model))
    return lambda files: loaded.signatures["serving_default"](
        image_bytes=tf.constant([file.read_bytes() for file in files])
    )


def test_savedmodel_serves_labels_for_image_files(serve, bgr_run, shapes, tmp_path):
    photo = Image.open(shapes / "stripes" / "01.png")
    seen_through = photo.convert("RGBA")
    seen_through.putalpha(128)
    grey16 = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257 + 128)
    drawn = photo.convert("1"), photo.convert("L"), photo.convert("P"), grey16
    names = ("a.jpg", "b.png", "c.bmp", "d.png", "bits.png", "grey.png", "palette.png", "grey16.png")
    files = [tmp_path / name for name in (*names, "rotated.jpg", "white.png", "12 of 16.png")]
    for file, image in zip(files, (photo, photo, photo, seen_through, *drawn), strict=False):
        image.save(file)
    rotated = Image.Exif()
    rotated[ExifTags.Base.Orientation] = 6
    photo.resize((90, 30)).save(files[-3], exif=rotated)
    files[-2].write_bytes(encoded(white_drawing(), "PNG"))
    files[-1].write_bytes(deep_png(np.asarray(photo.convert("RGB")).astype(np.uint16) * 16))
    answers = serve(files)
    assert answers["probabilities"].shape == (len(files), 2)
    for at, file in enumerate(files):
        ours = expected(bgr_run, decode(read(file)))
        assert np.abs(answers["probabilities"][at].numpy() - ours).max() < 0.01
        assert answers["labels"][at].numpy().decode() == ["noise", "stripes"][int(ours.argmax())]
        assert answers["confidences"][at].numpy() == pytest.approx(ours.max(), abs=0.01)
    photo.convert("P").save(tmp_path / "palette.bmp")
    with pytest.raises(Exception, match="a BMP with a palette: send it as PNG"):  # it would be decoded wrongly
        serve([tmp_path / "palette.bmp"])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [0, *range(1, 9), 56624])
def test_savedmodel_rotates_jpegs_by_their_exif_data(orientation, order):
    import tensorflow as tf

    exif, file = Image.Exif(), BytesIO()
    exif.endian = order
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "a maker"
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    assert _orientation(tf, tf.constant(file.getvalue())) == orientation
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    assert _orientation(tf, tf.constant(file.getvalue())) == 0


def test_export_command_prints_the_proof(tl, tiny_run, tmp_path):
    done = tl("export", tiny_run, "--to", "openvino", "--out", tmp_path / "out", expect=0)
    for part in ("verified    with openvino", "difference  of a probability: largest", "the same for every image"):
        assert part in done.stdout
    assert all(len(line) <= 80 or str(tmp_path) in line for line in done.stdout.splitlines())
    assert sorted(path.name for path in (tmp_path / "out" / "1").iterdir()) == ["classifier.bin", "classifier.xml"]
    result = json.loads(tl("export", tiny_run, "--to", "openvino", "--out", tmp_path / "b", "--json").stdout)
    assert result["proof"]["largest"] <= result["tolerance"]["value"] == 0.01
    assert tl("export", tiny_run, "--to", "openvino", "--out", tmp_path / "c", "--quiet").stdout == ""


def test_export_with_other_predictions_leaves_nothing(tl, own, tmp_path):
    done = tl("export", own, "--to", "openvino", "--tolerance", "0", "--out", tmp_path / "a" / "b", expect=1)
    assert "the predictions of the openvino export are not those of own" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "difference" in done.stdout
    assert not (tmp_path / "a").exists()
    assert own.parent.exists()


def test_export_detects_another_colour_order(own, monkeypatch):
    from openvino import opset13 as ops

    backwards = np.array([2, 1, 0], np.int32)
    distort_pixels(monkeypatch, lambda pixels: ops.gather(pixels, ops.constant(backwards), ops.constant(np.int32(3))))
    with pytest.raises(EngineError, match="a probability differs by"):
        export(own, to="openvino")


def test_export_detects_a_difference_in_a_confident_run(own, monkeypatch):
    from openvino import opset13 as ops

    plain = {"normalized_kernel": None, "imagenet": None}
    change_head(own, lambda head: plain | {"temperature": head["temperature"] / 30})
    distort_pixels(monkeypatch, lambda pixels: ops.minimum(pixels, ops.constant(np.uint8(100))))
    with pytest.raises(EngineError, match="log-odds differ by"):  # no probability does
        export(own, to="openvino")


def distort_pixels(monkeypatch: pytest.MonkeyPatch, distort: Callable[[Any], Any]) -> None:
    """Have exports to OpenVINO see other pixels than the run."""
    from tl.exporters import openvino as written

    true = written._resize
    monkeypatch.setattr(written, "_resize", lambda *arguments: distort(true(*arguments)))


@pytest.mark.parametrize(("error", "raised"), [
    (RuntimeError("REPLACED BY KeyboardInterrupt: <EMPTY MESSAGE>"), KeyboardInterrupt),
    (RuntimeError("write failed: No space left on device"), StorageError),
    (RuntimeError("no such operator"), EngineError),
])  # fmt: skip
def test_export_translates_errors_of_a_converter(own, monkeypatch, error, raised):
    def write(job):
        raise error

    monkeypatch.setattr("tl.exporters.openvino.write", write)
    with pytest.raises(raised):
        export(own, to="openvino")
    assert not (own / "export").exists()


def test_run_with_an_export_can_be_loaded_and_removed(own):
    export(own, to="openvino")
    with pytest.raises(RunError, match="exists already: give another name with --out, or replace it with --overwrite"):
        export(own, to="openvino")
    assert load_run(own).classes == ("noise", "stripes")
    assert [(one.name, one.state) for one in list_runs(own.parent)] == [("own", "complete")]
    remove(find_removals(["own"], root=own.parent))
    assert not own.exists()


def test_overwrite_replaces_an_export_once_the_new_one_is_proven(own, monkeypatch, tmp_path):
    from openvino import opset13 as ops

    made = export(own, to="openvino")
    (made.folder / "old").touch()
    with monkeypatch.context() as patch:
        distort_pixels(patch, lambda pixels: ops.minimum(pixels, ops.constant(np.uint8(0))))
        with pytest.raises(EngineError, match="are not those of own"):
            export(own, to="openvino", overwrite=True)
    assert (made.folder / "old").exists()
    export(own, to="openvino", overwrite=True)
    assert sorted(path.name for path in made.folder.parent.iterdir()) == ["openvino"]
    assert sorted(path.name for path in made.folder.iterdir()) == ["1", "export.json", "tl_images"]
    (tmp_path / "photos").mkdir()
    with pytest.raises(RunError, match="photos is no export, so it is not replaced: give another --out"):
        export(own, to="openvino", out=tmp_path / "photos", overwrite=True)


def test_proof_has_files_of_sizes_that_the_data_lack(exported):
    proof = exported("openvino").proof
    assert (proof.count, proof.made) == (4, 5)
    assert proof.made_largest <= proof.largest < 0.002


def test_documented_recipe_answers_what_predict_does(exported, bgr_run, tmp_path, monkeypatch):
    """The blocks of docs/export.md, executed beside an export, on files of the sizes and kinds that cameras make."""
    folder = exported("openvino").folder
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    text = (ROOT / "docs" / "export.md").read_text()
    reading, openvino = (re.search(f"```python\n([^`]*{word}[^`]*)```", text)[1] for word in ("read_image", "openvino"))
    random = np.random.default_rng(0)
    for at, shape in enumerate(((150, 156, 3), (1500, 2000, 3), (700, 40, 3), (40, 700, 3), (5, 4, 3), (90, 80, 4))):
        pixels = Image.fromarray(random.integers(0, (30, 30, 256, 256)[: shape[2]], shape, np.uint8))
        file = tmp_path / ("photo.jpg" if shape[2] == 3 else "photo.png")
        pixels.save(file, **({"quality": 90} if shape[2] == 3 else {}))
        names: dict[str, Any] = {}
        exec(reading.replace("photo.jpg", str(file)) + openvino, names)  # noqa: S102 - of our own documents
        ours = expected(bgr_run, file)
        assert np.abs(names["probabilities"][0] - ours).max() < 0.01, at
        if at == 0:  # a few times as large as the network's input: by any decoder, at full size
            whole = np.asarray(Image.open(file))[None]
            assert np.abs(names["network"]({"photos": whole})["probabilities"][0] - ours).max() < 0.01, at


@pytest.mark.parametrize(("options", "message"), [
    ({"to": "torch"}, "choose keras, savedmodel, onnx, openvino, litert"),
    ({"to": "keras", "int8": True}, "only onnx, openvino, litert can be quantized"),
    ({"to": "openvino", "tolerance": 2.0}, "--tolerance 2: give a fraction from 0 to 1"),
    ({"to": "openvino", "photos": 0}, "--photos 0: give a number of at least 1"),
])  # fmt: skip
def test_export_refuses_wrong_options(own, options, message):
    with pytest.raises(UsageError, match=message):
        export(own, **options)
    assert not (own / "export").exists()


def test_export_says_how_to_install_a_missing_runtime(own, monkeypatch):
    true = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else true(name, *rest)
    )
    with pytest.raises(EngineError, match=r"--to onnx needs .*onnxruntime.*pip install 'tl\[export\]'"):
        export(own, to="onnx")


def test_export_refuses_a_damaged_run(own):
    (own / "trunk.bin").unlink()
    (own / "trunk.bin").write_bytes(b"other weights")
    with pytest.raises(RunError, match=r"trunk\.bin is not the file"):
        export(own, to="openvino")


def test_export_finds_moved_and_renamed_images(tl, own, shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "here")
    change_run(own, options__data="gone/")
    done = tl("export", own, "--to", "openvino", expect=1)
    assert re.search("the images of own cannot be read.*give their folder with --data.*\n$", done.stderr)
    for at, path in enumerate(sorted((tmp_path / "here").rglob("*.png"))):
        path.rename(path.with_name(f"renamed-{at}.png"))
    assert export(own, to="openvino", data=tmp_path / "here").proof.count == 4
    shutil.rmtree(tmp_path / "here" / "stripes")
    made = export(own, to="openvino", data=tmp_path / "here", out=tmp_path / "few")
    assert (made.proof.count, made.proof.lost) == (2, 2)


@pytest.fixture(scope="module")
def resnet50_run(tl, imagenet, photos, tmp_path_factory):
    """A run of ResNet50's real weights on all photos: of fewer it is so sure that no difference would show."""
    home = tmp_path_factory.mktemp("resnet50")
    tl("finetune", photos, cwd=home, expect=0)
    return home / "runs" / "latest"


def test_int8_litert_export_resizes_in_float_and_keeps_the_colour_order(exported, bgr_run):
    made = exported("litert", int8=True)  # calibrated on photos that need no resizing
    classify = litert(made.model)
    for photo in IMAGES:
        answer = classify(photo[None])[0]
        assert np.abs(answer - expected(bgr_run, photo)).max() < 0.02
        assert np.abs(answer - expected(bgr_run, photo[..., ::-1])).max() > 0.02


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.photos
def test_export_of_resnet50(resnet50_run, tmp_path):
    needs("onnx")
    made = export(resnet50_run, to="onnx", out=tmp_path / "onnx", photos=12)
    assert made.proof.largest < 0.01
    assert made.proof.changes == ()


@pytest.mark.parametrize("name", ["keras", "openvino"])
def test_export_of_a_tuned_run_has_its_own_weights(small_run, tmp_path, name):
    made = export(tuned(load_run(small_run), tmp_path), to=name)
    assert made.proof.largest < 0.01
    assert metadata(name, made.model)["tuned"]
    other = expected(small_run, IMAGES[0])
    assert np.abs(globals()[name](made.model)(IMAGES[0][None])[0] - other).max() > 0.01


def tuned(run: Run, folder: Path) -> Path:
    """A run as training leaves it: with its own weights, of the folded network, and the trunk made from them."""
    from tl.engines import trunk as trunks
    from tl.networks.trainable import fold
    from tl.networks.weights import Weights, build

    own, file = folder / "tuned", folder / "tuned" / TUNED
    own.mkdir()
    fold(build(run.backbone, Weights("none", None, "", "", seed=7))).save_weights(file)
    weights = Weights("tuned", file, "this run", hashlib.sha256(file.read_bytes()).hexdigest())
    trunk = trunks.convert(run.backbone, weights, folder / "trunk")
    manifest = {name: value for name, value in run.manifest.items() if name != "files"}
    write_run(own, run.head, None, trunk, manifest, tuned=file)
    shutil.copy(run.folder / "split.csv", own)
    return own
