"""`tl export`: a run becomes a file or folder for another runtime, proven there."""

from typing import Any

import click


@click.command("export")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--to", required=True, help="keras, savedmodel, onnx, openvino or litert.")
@click.option("--int8", is_flag=True, help="Quantized, calibrated on training photos: onnx, openvino, litert.")
@click.option("--out", default=None, help="Folder to make.  [default: export/<format> in the run]")
@click.option("--data", default=None, help="Where the run's photos are now.  [default: where it found them]")
@click.option(
    "--bound",
    type=float,
    default=None,
    help="Let pass: difference of a probability, of log-odds; with --int8 accuracy lost.  [default: 0.01, 0.02]",
)
@click.option("--photos", type=int, default=None, help="Prove it on so many photos.  [default: all held out]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the account.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Write RUN, or the newest, as a model that takes raw photos of any size.

    Resizing, normalisation, head and calibration are inside: uint8 RGB of any
    size goes in, calibrated probabilities come out. It is run at once in its own
    runtime on the photos that the run was validated on. Where it answers
    otherwise, the export fails and nothing is kept.
    """
    from tl.commands.console import Console, dumped, near
    from tl.progress import Progress
    from tl.workflows.export import export

    progress = Progress() if as_json or quiet else Console()
    made = export(progress=progress, **options)
    if as_json:
        click.echo(dumped({"folder": str(made.folder), **made.as_dict()}))
    elif not quiet:
        progress.log("written", f"{near(made.model)}, {made.size / 1e6:.1f} MB, and export.json")
