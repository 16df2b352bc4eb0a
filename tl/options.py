"""Options of a workflow: a frozen dataclass whose fields carry default, type, choices, bounds and help.

The dataclass is the only definition of a workflow's options. From it come the click options (`tl.commands.options`),
the keyword arguments of the function in `import tl` (`keywords`), run.toml (`read_toml`, `write_toml`) and the JSON
schema of the service (`json_schema`); `check` holds values from all four to the same choices and bounds.
"""

import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tl.errors import UsageError
from tl.progress import default_progress

Result = TypeVar("Result")

_FORMS = ", such as 0.2 or 20%"


@dataclass(frozen=True)
class Spec:
    """What is known of an option besides its name, type and default.

    `low` and `high` bound a number, both included unless `exclusive`. `default_text` says what None stands for.
    `parse` raises UsageError for a text that is not understood, such as a duration. A number that is a `fraction` may
    be a text such as 20%, too.
    """

    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    exclusive: bool = False
    unit: str = ""
    default_text: str = ""
    metavar: str = ""
    short: str = ""
    off: str = ""
    hidden: bool = False
    parse: Callable[[str], Any] | None = None
    fraction: bool = False


def option(default: Any = MISSING, help: str = "", **spec: Any) -> Any:
    """A field of an options dataclass; the keywords are the fields of `Spec`."""
    return field(default=default, metadata={"spec": Spec(help, **spec)})


def fraction_option(default: Any, help: str, **spec: Any) -> Any:
    """A field that is a fraction from 0 to 1, as a number or a text such as 20%."""
    return option(default, help, **{"low": 0, "high": 1, "fraction": True, "metavar": "FRACTION", **spec})


def run_option() -> Any:
    """The field `run: str | None` of a workflow that uses a run."""
    return option(None, "Run folder.", default_text="the newest in runs/", metavar="RUN")


def offline_option() -> Any:
    """The field `offline: bool` of a workflow that may download."""
    return option(False, "Never touch the network.")


def download_option() -> Any:
    """The field `download: bool` of a workflow that takes known data sets."""
    return option(False, "Download a known data set if it is not here.")


def engine_option() -> Any:
    """The field `engine: str` of a workflow that runs a network."""
    return option("auto", "Inference engine.", choices=("auto", "openvino", "tensorflow"))


def precision_option() -> Any:
    """The field `precision: str` of a workflow that runs a network."""
    return option("auto", "Precision of the network.", choices=("auto", "f32", "bf16", "f16"))


def threads_option() -> Any:
    """The field `threads: int | None` of a workflow that runs a network."""
    return option(
        None, "CPU threads of the engine.", low=1, high=1024, unit="threads", default_text="all cores", metavar="N"
    )


def specs(cls: type) -> dict[str, Spec]:
    """The options of a dataclass by name: its fields made with `option`."""
    return {entry.name: entry.metadata["spec"] for entry in dataclasses.fields(cls) if "spec" in entry.metadata}


def base_type(cls: type, name: str) -> tuple[type, bool, bool]:
    """The plain type of an option, whether it may be None, and whether it is a tuple of that type."""
    hint = typing.get_type_hints(cls)[name]
    members = [hint]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = list(typing.get_args(hint))
    plain = [member for member in members if member is not type(None)]
    repeated = typing.get_origin(plain[0]) is tuple
    kind = typing.get_args(plain[0])[0] if repeated else plain[0]
    # `str | float`: a text is converted where it is used
    kind = next((one for one in (Path, str, float, int, bool) if one in plain), kind)
    return kind, type(None) in members, repeated


def flag(name: str) -> str:
    """The command-line name of an option: `--image-size` for `image_size`, `--class` for `class_`."""
    return "--" + name.rstrip("_").replace("_", "-")


def check(options: Any) -> None:
    """Raises UsageError for a value outside of an option's choices or bounds, naming the option and what is allowed."""
    for name, spec in specs(type(options)).items():
        value = getattr(options, name)
        kind, optional, _ = base_type(type(options), name)
        if value is None and not optional:
            raise UsageError(f"{flag(name)} None: leave it out, or give a value")
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                _check_type(name, kind, one)
                _check_value(name, spec, one)


def _check_type(name: str, kind: type, value: Any) -> None:
    texts = (str, os.PathLike)
    allowed: dict[type, tuple[type, ...]] = {
        **{bool: (bool,), int: (numbers.Integral,), float: (numbers.Real,)},
        **{str: (*texts, numbers.Real), Path: texts},
    }
    if not isinstance(value, allowed[kind]) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{flag(name)} {value!r}: expected {'text' if kind in (str, Path) else kind.__name__}")


def _check_value(name: str, spec: Spec, value: Any) -> None:
    if spec.choices and str(value) not in spec.choices:
        raise UsageError(f"{flag(name)} {value}: choose {', '.join(spec.choices)}")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not _within(spec, value):
        raise UsageError(f"{flag(name)} {value:g}: give {_bounds(spec)}{_FORMS * spec.fraction}")
    if spec.parse is not None:
        try:
            spec.parse(str(value))
        except UsageError as error:
            raise UsageError(f"{flag(name)} {error}") from None


def as_fraction(value: str | float, spec: Spec, where: str) -> float:
    """A fraction within the bounds of `spec`, from a number or a text such as 20%; UsageError starts with `where`."""
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not _within(spec, number):
        raise UsageError(f"{where} {text[:80]!r}: give {_bounds(spec)}{_FORMS}")
    return number


def _within(spec: Spec, value: float) -> bool:
    low, high = spec.low, spec.high
    if spec.exclusive:
        return (low is None or low < value) and (high is None or value < high)
    return (low is None or low <= value) and (high is None or value <= high)  # NaN fails both


def _bounds(spec: Spec) -> str:
    unit = "a fraction " if spec.fraction else f"{spec.unit} " if spec.unit else "a number "
    if spec.low is not None and spec.high is not None:
        first, second = ("between", "and") if spec.exclusive else ("from", "to")
        return f"{unit}{first} {spec.low:g} {second} {spec.high:g}"
    return f"{unit}of at least {spec.low:g}" if spec.low is not None else f"{unit}of at most {spec.high:g}"


def keywords(
    cls: type, *, inherited: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Let a workflow `f(data, options, *, …)` be called as `f(data, option=value, …)` as well.

    The options dataclass `cls` is made from the keywords, checked, and passed as the argument `options`; `help(f)`
    lists every option with its default. A keyword that is no option raises UsageError with the nearest names.
    A keyword argument `progress` that is missing or None becomes `tl.progress.default_progress()`. `inherited` has the
    values of options that are no keywords, if they are not the defaults.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        signature = inspect.signature(function)
        own = {name: parameter for name, parameter in signature.parameters.items() if name != "options"}
        known = specs(cls)

        @functools.wraps(function)
        def call(*args: Any, options: Any = None, **given: Any) -> Result:
            chosen = {name: given.pop(name) for name in list(given) if name in known and name not in own}
            unknown = [name for name in given if name not in own]
            if unknown:
                raise UsageError(_no_such(function.__name__, unknown[0], [*own, *known]))
            if options is None:
                values = {name: _plain(cls, name, value) for name, value in chosen.items()}
                options = cls(**{**(inherited(values) if inherited is not None else {}), **values})
            elif chosen:
                raise UsageError(f"{function.__name__}: give options={cls.__name__}(…) or keywords, not both")
            check(options)
            if "progress" in own and given.get("progress") is None:
                given["progress"] = default_progress()
            return function(*args, options=options, **given)

        call.__doc__ = f"{inspect.getdoc(function) or ''}\n\nOptions:\n" + "".join(
            f"    {name}: {spec.help}\n" for name, spec in known.items() if name not in own
        )
        call.__signature__ = _signature(signature, cls, own)  # type: ignore[attr-defined]
        return call

    return decorate


def _signature(signature: inspect.Signature, cls: type, own: Mapping[str, inspect.Parameter]) -> inspect.Signature:
    hints = typing.get_type_hints(cls)
    kinds = inspect.Parameter
    fields = inspect.signature(cls).parameters
    names = [name for name in specs(cls) if name not in own]
    shown = [fields[name].replace(kind=kinds.KEYWORD_ONLY, annotation=hints[name]) for name in names]
    first = [parameter for parameter in own.values() if parameter.kind is not kinds.KEYWORD_ONLY]
    last = [parameter for parameter in own.values() if parameter.kind is kinds.KEYWORD_ONLY]
    return signature.replace(parameters=[*first, *shown, *last])


def _plain(cls: type, name: str, value: Any) -> Any:
    """A keyword's value as the dataclass holds it: tuples for lists and single values, Path for the text of one."""
    _, _, repeated = base_type(cls, name)
    if repeated and value is not None:
        return tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if isinstance(value, str) and specs(cls)[name].fraction:
        return as_fraction(value, specs(cls)[name], flag(name))
    if isinstance(value, numbers.Number) and hasattr(value, "item"):
        return value.item()  # a number of NumPy's
    is_path = typing.get_type_hints(cls)[name] in (Path, Path | None)
    return Path(value) if is_path and isinstance(value, str) else value


def _no_such(where: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return f"{where}: no option is called {name!r}: {hint}"


def read_toml(cls: type, path: str | Path, *, removed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options in a TOML file, by their names; each must exist and have its type.

    `removed` names options of earlier versions, which are ignored. Raises UsageError, with the nearest names, for one
    that does not exist.
    """
    import tomllib

    try:
        with Path(path).open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read ({error.strerror}): give the path of a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is not TOML ({error}): write lines such as backbone = 'resnet50'") from error
    known = [*specs(cls)]
    values: dict[str, Any] = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        if name in removed:
            continue
        if name not in known:
            raise UsageError(_no_such(f"--config {path}", key, known))
        values[name] = typed(cls, name, value, f"--config {path}: {key}")
    return values


def write_toml(options: Any, path: Path, *, leave_out: tuple[str, ...] = ()) -> None:
    """Write the options that are set as a TOML file that `read_toml` reads."""
    import tomli_w

    set_ones = {
        name.replace("_", "-"): list(value) if isinstance(value, tuple) else value
        for name in specs(type(options))
        if (value := getattr(options, name)) is not None and name not in leave_out
    }
    path.write_text(tomli_w.dumps(set_ones), encoding="utf-8", errors="replace")


def typed(cls: type, name: str, value: Any, where: str) -> Any:
    """A value from TOML or JSON as the option's type. Raises UsageError for another type."""
    kind, _, repeated = base_type(cls, name)
    if repeated:
        if not isinstance(value, list):
            raise UsageError(f"{where} = {value!r}: give a list")
        return tuple(_typed_one(kind, one, where) for one in value)
    if isinstance(value, str) and specs(cls)[name].fraction:
        return as_fraction(value, specs(cls)[name], f"{where} =")
    if type(value) is int and _is_number_or_text(cls, name):
        return value
    return _typed_one(kind, value, where)


def _is_number_or_text(cls: type, name: str) -> bool:
    return {int, str} <= set(typing.get_args(typing.get_type_hints(cls)[name]))


def _typed_one(kind: type, value: Any, where: str) -> Any:
    if kind in (str, Path) and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)  # lr = 0.001
    wanted: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,), Path: (str,)}
    if not isinstance(value, wanted[kind]) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{where} = {value!r}: expected {'text' if kind in (str, Path) else kind.__name__}")
    return value


def json_schema(cls: type, *, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON schema of an options dataclass, as OpenAPI 3.1 takes it."""
    names: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string"}
    defaults = {entry.name: entry.default for entry in dataclasses.fields(cls)}
    properties: dict[str, Any] = {}
    for name, spec in specs(cls).items():
        if name in leave_out:
            continue
        kind, nullable, repeated = base_type(cls, name)
        entry: dict[str, Any] = {"type": names[kind]}
        if spec.fraction:
            entry = {"type": [names[kind], "string"], "pattern": r"^\d*\.?\d+ *%?$"}
        if _is_number_or_text(cls, name):
            entry = {"type": ["integer", "string"]}
        if spec.choices:
            entry["enum"] = [*spec.choices, None] if nullable else list(spec.choices)
        if spec.low is not None:
            entry["exclusiveMinimum" if spec.exclusive else "minimum"] = spec.low
        if spec.high is not None:
            entry["exclusiveMaximum" if spec.exclusive else "maximum"] = spec.high
        if repeated:
            entry = {"type": "array", "items": entry}
        if nullable:
            entry["type"] = [*([entry["type"]] if isinstance(entry["type"], str) else entry["type"]), "null"]
        default = defaults[name]
        if default is not MISSING and default is not None:
            plain = list(default) if isinstance(default, tuple) else default
            entry["default"] = str(plain) if isinstance(plain, Path) else plain
        properties[name] = {**entry, "description": spec.help}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def seconds(text: str) -> float:
    """A duration such as 90s, 10m or 1.5h, in seconds; a number alone counts minutes. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    value = float(match[1]) * {"s": 1, "m": 60, "": 60, "h": 3600}[match[2]] if match else 0.0
    if value <= 0:
        raise UsageError(f"{text!r} is not a duration: give one such as 90s, 10m or 1.5h")
    return value
