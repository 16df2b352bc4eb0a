"""The commands `tl cache info` and `tl cache clear`."""

import click

from tl.commands.console import Console


@click.group("cache")
def command() -> None:
    """Show and clear the cache: everything in it can be computed or downloaded again."""


@command.command("info")
def info() -> None:
    """Show where the cache is, what it holds, and its limit."""
    from tl.cache import info
    from tl.settings import settings
    from tl.text import count, size

    progress, cache = Console(), info()
    progress.log("folder", str(settings().cache_dir))
    rows = f"{count(cache.rows, 'row')}, {size(cache.bytes)}" if cache.rows else "none yet"
    progress.log("features", f"{rows} (limit {size(cache.limit)})")
    for name, what in (("weights", "weights"), ("trunks", "networks"), ("datasets", "data sets")):
        progress.log(what, size(cache.others[name]))
    progress.log("total", f"{size(cache.bytes + sum(cache.others.values()))}; `tl cache clear --all` removes it")


@command.command("clear")
@click.option("--all", "everything", is_flag=True, help="Also weights, converted networks and data sets.")
def clear(everything: bool) -> None:
    """Delete the cached features."""
    from tl.cache import clear
    from tl.text import size

    freed = clear(all=everything)
    more = ", weights, converted networks and data sets" if everything else ""
    Console().log("deleted", f"{size(freed)} of features{more}")
