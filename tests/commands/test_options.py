"""Click options are made from the fields of an options dataclass."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from test_options import BakeOptions
from tl.commands.options import json_option, quiet_option, workflow_options


@click.command()
@workflow_options(BakeOptions, leave_out=("rate",))
@json_option
@quiet_option
def command(**options: object) -> None:
    """Bake."""
    click.echo(repr(options))


def parsed(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    values: dict[str, object] = eval(result.output, {"PosixPath": Path})  # noqa: S307
    return values


def test_defaults_are_those_of_the_dataclass():
    values = parsed()
    assert (values.pop("as_json"), values.pop("quiet")) == (False, False)
    assert BakeOptions(**values) == BakeOptions()
    assert "rate" not in values


def test_values_and_lists_are_converted():
    assert parsed("--toppings", "basil,olives", "--toppings", "ham")["toppings"] == ("basil", "olives", "ham")
    values = parsed(
        "--heat", "0.1", "--toppings", "basil, olives,", "--no-lid", "--out", "here", "--sauce", "red", "-q"
    )
    assert (values["heat"], values["toppings"]) == (0.1, ("basil", "olives"))
    assert (values["lid"], values["sauce"], values["out"], values["quiet"]) == (False, "red", Path("here"), True)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--heat", "1"], "1.0 is not in the range 0<x<1"),
    (["--heat", "nan"], "nan is not"),
    (["--minutes", "0"], "0 is not in the range 1<=x<=90"),
    (["--crust", "deep"], "'deep' is not one of 'thin', 'thick'"),
    (["--budget", "soon"], "'soon' is not a duration"),
])  # fmt: skip
def test_wrong_values_are_usage_errors(arguments, message):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_help_names_default_choices_and_bounds():
    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    for expected in ("[default: 0.5; 0<x<1]", "[thin|thick]", "--lid / --no-lid", "Heat of the oven."):
        assert expected in text
