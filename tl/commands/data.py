"""`tl data`: check, clean, split, measure, fetch and convert data sets."""

from collections.abc import Mapping
from typing import Any

import click

from tl.commands.console import command_line, dumped, progress_for
from tl.commands.options import data_argument, json_option, output_options, workflow_options
from tl.progress import Progress
from tl.text import count, spread
from tl.workflows import data as workflows
from tl.workflows import data_check, data_fix, data_split

_EXAMPLES = 3


@click.group("data")
def command() -> None:
    """Check, clean, split, measure, fetch and convert data sets."""


@command.command("check")
@data_argument
@workflow_options(data_check.CheckOptions)
@click.option(
    "--fail-on",
    default="error",
    show_default=True,
    type=click.Choice(["error", "warning", "never"]),
    help="Exit with code 1 if there are findings of this severity or worse.",
)
@output_options
def check(data: str, fail_on: str, as_json: bool, quiet: bool, **options: Any) -> int:
    """Show what is wrong with DATA, the worst first.

    Unreadable files, duplicates (in two parts of the split, under two labels),
    probably wrong labels, outliers, classes that size or colour alone predict,
    class imbalance, class names. Nothing is changed: each finding says how to
    fix it.

    --group-by names photos that must stay on one side of the split: by a column
    of the table (patient), a place in the path (0 is the first folder), or a
    regular expression with a group ('(patient[0-9]+)_').
    """
    from tl.views.terminal.data import diagnosis_text
    from tl.views.terminal.tables import terminal_width

    progress = progress_for(as_json or quiet)
    chosen = data_check.CheckOptions(**options)
    diagnosis = data_check.check(data, options=chosen, progress=progress, command=command_line())
    if as_json:
        click.echo(dumped(diagnosis.as_dict()))
    elif not quiet:
        click.echo(diagnosis_text(diagnosis, terminal_width()))
    if diagnosis.page is not None:
        progress.log("", "")
        progress.log("page", str(diagnosis.page))
    return 1 if fail_on != "never" and diagnosis.reaches(fail_on) else 0


@command.command("stats")
@data_argument
@workflow_options(workflows.StatsOptions)
@json_option
def stats(data: str, as_json: bool, **options: Any) -> None:
    """Count the images of DATA by class, part, format and size."""
    from tl.views.terminal.data import stats_text
    from tl.views.terminal.tables import terminal_width

    result = workflows.stats(data, options=workflows.StatsOptions(**options), progress=progress_for(as_json))
    click.echo(dumped(result.as_dict()) if as_json else stats_text(result, terminal_width()))


@command.command("fix")
@data_argument
@workflow_options(data_fix.FixOptions)
@output_options
def fix(data: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write a clean copy of DATA; DATA itself is never changed.

    \b
    unreadable    left out
    duplicates    the largest of the copies stays
    leaks         of copies in two parts of the split, the held-out one stays
    two-labels    left out, unless it is sure which label is right
    extensions    corrected
    class-names   not by default: with --merge-classes, names that differ only
                  in case, white space or plural become one class

    CLEAN/undo.csv (for a table, CLEAN.undo.csv) has a line for each file: what
    was done, why, and where it came from.
    """
    progress = progress_for(as_json or quiet)
    result = data_fix.fix(data, options=data_fix.FixOptions(**options), progress=progress)
    if as_json:
        click.echo(dumped(result.as_dict()))
    else:
        _log_fix(result, progress)


def _log_fix(result: data_fix.FixResult, progress: Progress) -> None:
    plan = result.plan
    for kind in dict.fromkeys(step.kind for step in plan.changed):
        steps = [step for step in plan.changed if step.kind == kind]
        actions = {step.action for step in steps}
        progress.log(kind, f"{len(steps):,} {actions.pop() if len(actions) == 1 else 'changed'}")
        for step in steps[:_EXAMPLES]:
            progress.log("", f"{step.sample.name}: {step.why}")
        if len(steps) > _EXAMPLES:
            progress.log("", f"and {len(steps) - _EXAMPLES:,} more")
    if not plan.changed:
        progress.log("result", "nothing to fix")
    for note in plan.notes:
        progress.warn(note)
    kept = f"{len(plan.kept):,} of {count(len(plan.steps), 'image')}"
    progress.log("clean", f"{kept} kept: {result.out}" if result.out else f"{kept} would be kept")
    if result.undo:
        progress.log("undo", str(result.undo))


@command.command("split")
@data_argument
@workflow_options(data_split.SplitOptions)
@output_options
def split(data: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Split DATA, stratified by class, and write a table or folders.

    Copies of one photo stay on one side, and so does what --group-by names: a
    column of the table (patient), a place in the path (0 is the first folder),
    or a regular expression with a group ('(patient[0-9]+)_').

    A split that DATA already has is ignored: all its photos are split again.
    """
    progress = progress_for(as_json or quiet)
    result = data_split.split(data, options=data_split.SplitOptions(**options), progress=progress)
    if as_json:
        click.echo(dumped(result.as_dict()))
    else:
        _log_split(result, progress)


def _log_split(result: data_split.SplitResult, progress: Progress) -> None:
    for note in result.notes:
        progress.warn(note)
    for part, counts in result.counts.items():
        progress.log(part, f"{count(sum(counts.values()), 'image')}, {spread(counts.values())} per class")
    if result.copies:
        progress.log("copies", f"{result.copies:,}, each on the side of the photo that it shows")
    if result.groups:
        progress.log("groups", f"{result.groups:,}, each on one side")
    _warn_left_out(result.left_out, progress)
    progress.log("split", str(result.out))


def _warn_left_out(left_out: Mapping[str, str], progress: Progress) -> None:
    for name, reason in list(left_out.items())[:_EXAMPLES]:
        progress.warn(f"left out: {name}: {reason}")
    if len(left_out) > _EXAMPLES:
        progress.warn(f"and {len(left_out) - _EXAMPLES:,} more left out")


@command.command("get")
@click.argument("name", required=False)
@workflow_options(workflows.GetOptions)
@output_options
def get(name: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Download the data set NAME, check it, and show where it is.

    Without NAME, list the known data sets. Nothing is downloaded twice.
    """
    progress = progress_for(as_json or quiet)
    known = (
        [workflows.get(name, options=workflows.GetOptions(**options), progress=progress)]
        if name
        else workflows.list_known()
    )
    if as_json:
        click.echo(dumped(known[0].as_dict() if name else [one.as_dict() for one in known]))
        return
    for one in known:
        progress.log("data set", f"{one.name}: {one.path or f'not here; {one.size} from {one.host}'}")
        if name:
            progress.log("checksum", one.checksum)


@command.command("convert")
@data_argument
@workflow_options(workflows.ConvertOptions)
@output_options
def convert(data: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write DATA in another form, which tl reads back as DATA.

    \b
    folders    class folders, below train, validation and test if there is a split
    csv        a table of path,label,split that names the files where they are
    tfrecord   tf.train.Example records, in files of 128 MB by part
    """
    progress = progress_for(as_json or quiet)
    result = workflows.convert(data, options=workflows.ConvertOptions(**options), progress=progress)
    if as_json:
        click.echo(dumped(result.as_dict()))
        return
    parts = ", ".join(f"{number:,} {part}".rstrip() for part, number in result.parts.items())
    progress.log("images", f"{parts} in {count(result.classes, 'class')}")
    _warn_left_out(result.left_out, progress)
    progress.log(options["to"], str(result.out))
