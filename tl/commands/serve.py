"""`tl serve`."""

from typing import Any

import click

from tl.commands.options import workflow_options
from tl.service.options import ServeOptions


@click.command("serve")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@workflow_options(ServeOptions)
def command(runs: tuple[str, ...], **options: Any) -> None:
    """Serve each RUN over HTTP, with a web page; without one, always the newest.

    \b
    tl serve                          http://127.0.0.1:8000, this machine only
    tl keys add phone                 create a key, so that others can use it
    tl serve --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem
    curl -F image=@cat.jpg http://127.0.0.1:8000/v1/predict
    """
    from tl.commands.console import Console
    from tl.workflows.serve import serve

    serve(*runs, options=ServeOptions(**options), progress=Console())
