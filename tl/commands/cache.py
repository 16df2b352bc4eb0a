"""`tl cache`: what is kept on disk, and removing it."""

import click


@click.group("cache")
def command() -> None:
    """Show and clear what can be computed again."""


@command.command("info")
def info() -> None:
    """Where the cache is, what it holds, and its limit."""
    from tl.cache import open_cache
    from tl.commands.console import Console
    from tl.settings import settings

    where = settings()
    progress = Console()
    progress.log("folder", str(where.cache_dir))
    if not (where.cache_dir / "features").is_dir():
        progress.log("features", f"none yet (limit {where.cache_limit / 1e9:.1f} GB)")
        return
    with open_cache(where) as cache:
        held = cache.info()
    progress.log("features", f"{held.rows:,} rows, {held.bytes / 1e6:.1f} MB of at most {held.limit / 1e9:.1f} GB")


@command.command("clear")
@click.option("--all", "everything", is_flag=True, help="Weights and converted networks too, not only features.")
def clear(everything: bool) -> None:
    """Remove the kept features."""
    import shutil

    from tl.cache import clear as clear_features
    from tl.commands.console import Console
    from tl.settings import settings

    where = settings()
    freed = clear_features(where)
    if everything:
        for name in ("weights", "trunks", "datasets", "templates"):
            shutil.rmtree(where.cache_dir / name, ignore_errors=True)
    Console().log(
        "cleared", f"{freed / 1e6:.1f} MB of features{', weights, networks and data sets' if everything else ''}"
    )
