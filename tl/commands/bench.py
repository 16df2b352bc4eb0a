"""The command `tl bench`."""

from typing import Any

import click

from tl.commands.options import output_options, workflow_options
from tl.workflows.bench import BenchOptions


@click.command("bench")
@click.argument("run", required=False, metavar="[RUN]")
@workflow_options(BenchOptions)
@output_options
def command(run: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Measure how fast RUN is on this machine; by default the newest.

    Latency and throughput from files to labels, beside the network's own rate;
    time and memory of a whole `tl predict`. Stop other work while it runs.
    """
    from tl.commands.console import dumped, progress_for
    from tl.views.terminal.evaluation import timing_lines, timing_table
    from tl.workflows.bench import bench

    progress = progress_for(as_json or quiet)
    timing = bench(run, options=BenchOptions(**options), progress=progress)
    if as_json:
        click.echo(dumped(timing.as_dict()))
    elif not quiet:
        progress.log("machine", timing.machine)
        click.echo(f"\n{timing_table(timing)}\n")
        for topic, text in timing_lines(timing):
            progress.log(topic, text)
        if timing_chart := options["out"]:
            progress.log("chart", str(timing_chart))
