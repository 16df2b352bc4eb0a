"""The data commands have the options of their functions, and say what is missing."""

import inspect

import click
import pytest
from click.testing import CliRunner

import tl
from tl.commands.data import command


@pytest.mark.parametrize("name", command.commands)
def test_command_and_function_have_the_same_options(name):
    options = {each.name for each in command.commands[name].params if isinstance(each, click.Option)}
    arguments = inspect.signature(getattr(tl.data, name)).parameters
    assert options - {"as_json", "quiet", "fail_on"} == set(arguments) - {"data", "name", "progress", "command"}


@pytest.mark.parametrize("name", sorted(set(command.commands) - {"get"}))
def test_command_without_data_says_what_to_give(name):
    done = CliRunner().invoke(command, [name])
    assert done.exit_code == 2
    assert "Missing argument 'DATA': give a folder with one folder of photos per class, a table" in done.stderr
