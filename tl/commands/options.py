"""Click options made from the options of a workflow, and those that many commands share."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tl.errors import UsageError
from tl.options import Spec, as_fraction, base_type, flag, specs

Command = TypeVar("Command", bound=Callable[..., Any])

_METAVARS = {int: "N", float: "NUMBER", Path: "PATH", str: "NAME"}


def workflow_options(cls: type, *, leave_out: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Add an option to a command for each field of an options dataclass, in the order of its fields.

    The command receives them by name; `cls(**options)` puts them back together.
    """

    def decorate(function: Command) -> Command:
        defaults = {entry.name: entry.default for entry in dataclasses.fields(cls)}
        for name, spec in reversed(specs(cls).items()):
            if name not in leave_out and not spec.hidden:
                function = _click_option(cls, name, spec, defaults[name])(function)
        return function

    return decorate


def _click_option(cls: type, name: str, spec: Spec, default: Any) -> Callable[[Command], Command]:
    kind, _, repeated = base_type(cls, name)
    help_text = spec.help
    if default is None and spec.default_text:
        help_text += f"  [default: {spec.default_text}]"
    declared = [flag(name), name]
    if spec.short:
        declared.insert(0, spec.short)
    if kind is bool:
        if default:
            declared = [f"{flag(name)}/{spec.off or '--no-' + name.replace('_', '-')}", name]
        return click.option(*declared, is_flag=True, default=default, show_default=bool(default), help=help_text)
    if repeated:
        return _list_option(declared, CommaSeparated(_converter(kind, spec)), default, spec.metavar, help_text)
    # Click takes a default of None for a value, which a required option then has.
    defaults = {} if default is dataclasses.MISSING else {"default": default}
    return click.option(
        *declared,
        **defaults,
        type=_converter(kind, spec),
        required=default is dataclasses.MISSING,
        show_default=default not in (dataclasses.MISSING, None, ""),
        metavar=spec.metavar or (None if spec.choices else _METAVARS.get(kind)),
        help=help_text,
    )


def _list_option(
    declared: list[str], converter: Any, default: Any, metavar: str, help_text: str
) -> Callable[[Command], Command]:
    """An option whose values may be separated by commas, or typed one by one."""

    def join(_context: click.Context, _parameter: click.Parameter, values: Any) -> Any:
        return tuple(item for value in values for item in value) or default

    if default:
        help_text += f"  [default: {','.join(map(str, default))}]"
    return click.option(
        *declared, type=converter, multiple=True, callback=join, metavar=metavar or "LIST", help=help_text
    )


def _converter(kind: type, spec: Spec) -> Any:
    if spec.choices:
        return click.Choice(spec.choices)
    if spec.parse is not None:
        return Parsed(spec.parse)
    if spec.fraction:
        return Fraction(spec)
    bounds: dict[str, Any] = {"min": spec.low, "max": spec.high}
    if kind is float:
        is_open = spec.exclusive
        return Number(**bounds, min_open=is_open and spec.low is not None, max_open=is_open and spec.high is not None)
    if kind is int:
        return click.INT if spec.low is None and spec.high is None else Integer(**bounds)
    return click.Path(path_type=Path) if kind is Path else click.STRING


class Integer(click.IntRange):
    """A whole number between two others."""

    name = "integer"


class Number(click.FloatRange):
    """A finite number between two others."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number

    def _describe_range(self) -> str:
        return super()._describe_range() if self.min is not None or self.max is not None else ""


class Fraction(click.ParamType):  # type: ignore[type-arg]
    """A fraction such as 0.2 or 20%."""

    name = "fraction"

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return as_fraction(value, self._spec, "")
        except UsageError as error:
            self.fail(str(error).strip(), param, ctx)


class Parsed(click.ParamType):  # type: ignore[type-arg]
    """A text that a function understands; the text itself is kept."""

    name = "text"

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            self._parse(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return value


class CommaSeparated(click.ParamType):  # type: ignore[type-arg]
    """A tuple of values, separated by commas on the command line."""

    name = "list"

    def __init__(self, item: Any) -> None:
        self._item = item

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The values in the order typed; empty ones are passed over."""
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
        return tuple(self._item.convert(part, param, ctx) for part in parts if part != "")


def json_option(function: Command) -> Command:
    """--json, as the argument `as_json`: one JSON object on standard output instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(function)


def quiet_option(function: Command) -> Command:
    """--quiet: nothing but errors."""
    return click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")(function)


def output_options(function: Command) -> Command:
    """--json and --quiet."""
    return json_option(quiet_option(function))


def data_argument(function: Command) -> Command:
    """The argument DATA of a command that needs a data set, as `data`."""
    return click.argument("data", required=False, metavar="DATA", callback=_required)(function)


def missing_data(context: click.Context) -> click.UsageError:
    """The error of a command that got no data set."""
    return click.UsageError(
        "Missing argument 'DATA': give a folder with one folder of photos per class, a table, or a known data set, "
        f"such as `{context.command_path} photos/`",
        context,
    )


def _required(context: click.Context, _: click.Parameter, value: str | None) -> str:
    if value is None:
        raise missing_data(context)
    return value
