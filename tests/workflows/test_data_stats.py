"""Statistics as a command."""

import json
from pathlib import Path

from click.testing import CliRunner

from tl.commands.data import command


def test_stats_command(shapes: Path):
    values = json.loads(CliRunner().invoke(command, ["stats", str(shapes), "--json"]).stdout)
    assert (values["images"], values["broken"], values["classes"]) == (24, 0, {"noise": 12, "stripes": 12})
    shown = CliRunner().invoke(command, ["stats", str(shapes)])
    assert shown.exit_code == 0
    assert shown.stdout.startswith("shapes: 24 images in 2 classes, ")
    assert "width     50 to 50, median 50, 90% from 50 to 50" in shown.stdout
