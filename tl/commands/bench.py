"""`tl bench`: how fast a run answers on this machine, and in how much memory."""

from pathlib import Path
from typing import Any

import click


def _sizes(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: give numbers such as 1,4,16") from error


def _names(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(","))) if text else ()


@click.command("bench")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--batch", default="1,4,16", show_default=True, callback=_sizes, help="Batch sizes.")
@click.option("--precision", default=None, callback=_names, help="Such as f32,bf16.  [default: the machine's, f32]")
@click.option("--seconds", default=3.0, show_default=True, help="Seconds for each of them.")
@click.option("--threads", default=None, type=click.IntRange(1, 1024), help="Threads of the engine.")
@click.option("--engine", default="auto", show_default=True, help="auto, openvino or tensorflow.")
@click.option("--data", default=None, help="Where the run's photos are now.  [default: where it found them]")
@click.option("--remember", is_flag=True, help="Find the fastest batch, streams and threads, and keep them.")
@click.option("--out", default=None, type=click.Path(path_type=Path), help="Draw it into this PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def command(as_json: bool, quiet: bool, out: Path | None, **options: Any) -> None:
    """Measure RUN, or the newest, on this machine.

    Latency and throughput from files to labels, with the engine's own rate
    beside; the time and memory of a whole `tl predict`. Nothing else should
    run meanwhile.
    """
    from tl.commands.console import Console, dumped
    from tl.progress import Progress
    from tl.views.pictures.timing import check_picture, save_plot
    from tl.views.terminal.timing import explained, lines, table
    from tl.workflows.bench import Asked, bench

    if out is not None:
        check_picture(out)
    progress = Progress() if as_json or quiet else Console()
    made = bench(Asked(**options), progress=progress)
    if as_json:
        click.echo(dumped(made.as_dict()))
    elif not quiet:
        progress.log("machine", made.machine)
        click.echo(f"\n{table(made)}\n")
        for topic, text in [("", explained(made)), *lines(made)]:
            progress.log(topic, text)
    if out is not None:
        save_plot(made, out)  # last: what was measured is not lost where it cannot be written
        progress.log("picture", str(out))
