"""The data commands have the options of their functions."""

import inspect

import click
import pytest

import tl
from tl.commands.data import command


@pytest.mark.parametrize("name", command.commands)
def test_command_and_function_have_the_same_options(name):
    options = {each.name for each in command.commands[name].params if isinstance(each, click.Option)}
    arguments = inspect.signature(getattr(tl.data, name)).parameters
    assert options - {"as_json", "quiet", "fail_on"} == set(arguments) - {"data", "name", "progress", "command"}
