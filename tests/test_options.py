"""Options stand once: keywords, TOML, JSON schema and checks come from the fields of one dataclass."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner

from tl.commands.options import workflow_options
from tl.errors import UsageError
from tl.options import check, json_schema, keywords, option, read_toml, seconds, typed, write_toml
from tl.progress import Progress


@dataclass(frozen=True)
class BakeOptions:
    """Options of every kind."""

    heat: float = option(0.5, "Heat of the oven.", low=0, high=1, exclusive=True)
    minutes: int = option(10, "Time in the oven.", low=1, high=90, unit="minutes")
    crust: str = option("thin", "The crust.", choices=("thin", "thick"))
    sauce: str | None = option(None, "A sauce.", choices=("red", "white"))
    toppings: tuple[str, ...] = option((), "What goes on top.")
    lid: bool = option(True, "Cover it.")
    rate: str | float | None = option(None, "A number, or auto.")
    fat: float = option(0.1, "How much of it is fat.", low=0, high=1, exclusive=True, fraction=True)
    budget: str | None = option(None, "Stop in time.", parse=seconds)
    out: Path | None = option(None, "Where to.")


@keywords(BakeOptions)
def bake(name: str = "", *, options: BakeOptions, progress: Progress | None = None) -> tuple[Any, ...]:
    """Bake."""
    return name, options, progress


def test_keywords_make_the_options_and_the_signature():
    name, options, progress = bake("pizza", heat=0.7, toppings=["basil", "olives"])
    assert (name, options) == ("pizza", BakeOptions(heat=0.7, toppings=("basil", "olives")))
    assert type(progress) is Progress
    assert bake(options=BakeOptions(lid=False))[1].lid is False
    assert bake(out="here", toppings="basil")[1] == BakeOptions(out=Path("here"), toppings=("basil",))
    parameters = inspect.signature(bake).parameters
    assert list(parameters)[:3] == ["name", "heat", "minutes"]
    assert parameters["crust"].default == "thin"
    assert list(parameters)[-1] == "progress"
    assert "options" not in parameters


@pytest.mark.parametrize(("values", "message"), [
    ({"heat": 1.0}, "--heat 1: give a number between 0 and 1"),
    ({"heat": float("nan")}, "--heat nan: give a number between 0 and 1"),
    ({"minutes": 0}, "--minutes 0: give minutes from 1 to 90"),
    ({"minutes": "1"}, "--minutes '1': expected int"),
    ({"minutes": 1.5}, "--minutes 1.5: expected int"),
    ({"heat": True}, "--heat True: expected float"),
    ({"lid": "no"}, "--lid 'no': expected bool"),
    ({"sauce": ["red"]}, r"--sauce \['red'\]: expected text"),
    ({"crust": "deep"}, "--crust deep: choose thin, thick"),
    ({"sauce": "blue"}, "--sauce blue: choose red, white"),
    ({"fat": 1.5}, "--fat 1.5: give a fraction between 0 and 1, such as 0.2 or 20%"),
    ({"fat": "120%"}, "--fat '120%': give a fraction between 0 and 1, such as 0.2 or 20%"),
    ({"fat": "a fifth"}, "--fat 'a fifth': give a fraction between 0 and 1, such as 0.2 or 20%"),
    ({"budget": "soon"}, "'soon' is not a duration: give one such as 90s, 10m or 1.5h"),
    ({"het": 0.3}, "bake: no option is called 'het': did you mean heat?"),
    ({"options": BakeOptions(), "heat": 0.3}, r"bake: give options=BakeOptions\(…\) or keywords, not both"),
])  # fmt: skip
def test_values_that_are_not_allowed_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        bake(**values)


def test_check_accepts_what_is_allowed():
    check(BakeOptions(heat=0.01, minutes=90, sauce="red", budget="90s", rate="auto"))
    assert typed(BakeOptions, "rate", 0.001, "rate") == "0.001"


@pytest.mark.parametrize("text", ["20%", "20 %", "0.2", ".2"])
def test_a_fraction_may_be_a_percentage_for_commands_python_and_json(text):
    assert bake(fat=text)[1].fat == typed(BakeOptions, "fat", text, "fat") == 0.2
    assert jsonschema.Draft202012Validator(json_schema(BakeOptions)).is_valid({"fat": text})
    command = click.command()(workflow_options(BakeOptions)(lambda **values: values["fat"]))
    assert command.main(["--fat", text], standalone_mode=False) == 0.2
    refused = CliRunner().invoke(command, ["--fat", "2"])
    assert "--fat': '2': give a fraction between 0 and 1, such as 0.2 or 20%" in refused.stderr


def test_toml_round_trip(tmp_path):
    options = BakeOptions(heat=0.25, toppings=("basil",), sauce="white", lid=False)
    write_toml(options, tmp_path / "a.toml", leave_out=("minutes",))
    assert "minutes" not in (tmp_path / "a.toml").read_text()
    assert BakeOptions(**read_toml(BakeOptions, tmp_path / "a.toml")) == options


@pytest.mark.parametrize(("text", "message"), [
    (None, "cannot be read .*give the path of a TOML file"),
    ("heet = 0.1", "no option is called 'heet': did you mean heat?"),
    ("heat = 'hot'", "heat = 'hot': expected float"),
    ("minutes = true", "minutes = True: expected int"),
    ("toppings = 'basil'", "toppings = 'basil': give a list"),
    ("heat =", "is not TOML"),
])  # fmt: skip
def test_toml_that_is_wrong_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_toml(BakeOptions, tmp_path / "a.toml")


def test_json_schema_accepts_and_refuses_what_check_does():
    schema = json_schema(BakeOptions, leave_out=("out",))
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema).is_valid
    assert valid({"heat": 0.3, "sauce": None, "toppings": ["basil"], "crust": "thick", "lid": False})
    wrong = {"heat": 1, "minutes": 91, "fat": "much", "crust": "deep", "sauce": "blue", "out": "x", "lid": "yes"}
    for name, value in wrong.items():
        assert not valid({name: value}), name
    crust = {"type": "string", "enum": ["thin", "thick"], "default": "thin", "description": "The crust."}
    assert schema["properties"]["crust"] == crust


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2", 120)])
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "0s", "-1m", "1d", "m"])
def test_what_is_no_duration(text):
    with pytest.raises(UsageError, match="is not a duration"):
        seconds(text)
