"""`tl serve`: runs become a service for others, with a page."""

from pathlib import Path
from typing import Any

import click


@click.command("serve")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need keys.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--root", default="runs", show_default=True, type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--state", default="service", show_default=True, type=click.Path(path_type=Path), help="Folder it keeps.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name by which it may be called.")
@click.option("--tls-certificate", "certificate", type=click.Path(path_type=Path), metavar="PEM", help="For https.")
@click.option("--tls-key", "private_key", type=click.Path(path_type=Path), metavar="PEM", help="Its private key.")
@click.option("--engine", default="openvino", show_default=True, help="auto, openvino or tensorflow.")
@click.option("--precision", default="auto", show_default=True, help="auto, f32, bf16 or f16.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1, 256), help="Photos in a batch, at most.")
@click.option("--window", default=5.0, show_default=True, type=click.FloatRange(0, 1000), help="Of a batch, ms.")
@click.option("--queue", default=512, show_default=True, type=click.IntRange(1), help="Photos that may wait.")
@click.option("--deadline", default=10.0, show_default=True, type=click.FloatRange(0.1, 600), help="Of a request, s.")
@click.option("--rate", default=6000, show_default=True, type=click.IntRange(0), help="Requests a minute and key.")
@click.option("--grace", default=30.0, show_default=True, type=click.FloatRange(0, 3600), help="To finish in, s.")
@click.option("--no-jobs", is_flag=True, help="Only predict: start no process for fine-tuning.")
def command(
    runs: tuple[str, ...], hosts: tuple[str, ...], window: float, rate: int, no_jobs: bool, **options: Any
) -> None:
    """Serve each RUN to others over HTTP; without one, always the newest.

    \b
    tl serve                            http://127.0.0.1:8000, this machine only
    tl keys add phone --role predict    a key, shown once
    tl serve --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem
    curl -F image=@cat.jpg http://127.0.0.1:8000/v1/predict
    """
    from tl.commands.console import Console
    from tl.service.options import Limits, Options
    from tl.service.server import serve

    asked = Options(
        runs=runs,
        hosts=tuple(name.lower() for name in hosts),
        window=window / 1000,
        workers=not no_jobs,
        limits=Limits(rate=rate),
        **options,
    )
    serve(asked, lambda address: Console().log("serving", f"{address} (Ctrl-C finishes what was asked, then stops)"))
