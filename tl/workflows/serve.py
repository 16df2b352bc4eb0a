"""Serve runs over HTTP: check that strangers need a key, then listen until told to stop."""

import shlex
from dataclasses import replace

from tl.errors import UsageError
from tl.options import keywords
from tl.progress import Progress
from tl.service.database import Database
from tl.service.keys import all_revoked, list_keys
from tl.service.options import ServeOptions


@keywords(ServeOptions)
def serve(*runs: str, options: ServeOptions, progress: Progress | None = None) -> None:
    """Serve each of `runs` over HTTP (none: always the newest one) until SIGTERM or SIGINT; the address is logged.

    Raises UsageError when other machines could use the service without a key, ServiceError when it cannot listen,
    RunError for a run that cannot be opened.
    """
    from threadpoolctl import threadpool_limits

    from tl.service.monitoring import configure_logging
    from tl.service.server import create_app, run_server

    progress = progress or Progress()
    options = replace(options, runs=runs or options.runs)
    database = Database(options.state)
    add = f"`tl keys add NAME --state {shlex.quote(str(options.state))}`"
    if not options.is_local and not any(key.revoked is None for key in list_keys(database)):
        raise UsageError(
            f"--host {options.host}: other machines could use the service without a key; create one first with "
            f"{add}, or leave --host out"
        )
    if all_revoked(database):
        progress.warn(f"all keys are revoked, so every request is refused with 401: create one with {add}")
    configure_logging()
    threadpool_limits(limits=1, user_api="blas")  # numpy's own threads would spin beside the engine's
    app = create_app(options, database)
    stop = "(Ctrl-C finishes running requests, then stops)"
    run_server(app, options, lambda address: progress.log("serving", f"{address} {stop}"))
