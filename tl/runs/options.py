"""What a run is made with, as a dataclass and as a TOML file."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tl.errors import UsageError

UNFREEZE = ("none", "last", "half", "all", "auto")
BALANCE = ("auto", "none", "weights", "sampling")
OPTIMIZERS = ("adamw", "sgd")


@dataclass(frozen=True)
class Options:
    """What a run is made with; each is the command's option of the same name. None: what the rules say.

    `unknown_rate` is the share of false alarms among photos like the training photos, 0 to call none unknown; `lr` a
    learning rate or "auto", which looks for one; `budget` a time such as "10m"; `image_size` in pixels.
    """

    data: str
    backbone: str = "resnet50"
    weights: str = "imagenet"
    out: str | None = None
    val: float = 0.2
    seed: int = 0
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    cache: bool = True
    offline: bool = False
    download: bool = False
    image_size: int | None = None
    unfreeze: str = "none"
    epochs: int | None = None
    batch: int | None = None
    lr: str | None = None
    optimizer: str | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    augment: str | None = None
    views: int | None = None
    balance: str = "auto"
    unknown_rate: float = 0.01
    budget: str | None = None
    tensorboard: bool = False

    def check(self) -> None:
        """Raises UsageError for a value that cannot be meant."""
        from tl.learning.augment import LEVELS

        for name, given, allowed in (
            ("unfreeze", self.unfreeze, UNFREEZE),
            ("balance", self.balance, BALANCE),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("augment", self.augment, LEVELS),
        ):
            if given is not None and given not in allowed:
                raise UsageError(f"--{name} {given}: choose {', '.join(allowed)}")
        if not 0 < self.val < 1:
            raise UsageError(f"--val {self.val:g}: the share held out for validation lies between 0 and 1, such as 0.2")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed {self.seed}: a seed lies between 0 and {2**32 - 1}")
        _within("threads", self.threads, 1, 1024, "threads")
        _within("image-size", self.image_size, 32, 1024, "pixels")
        _within("epochs", self.epochs, 1, 10_000, "epochs")
        _within("batch", self.batch, 1, 4096, "photos")
        _within("views", self.views, 1, 100, "views")
        _within("weight-decay", self.weight_decay, 0, 1, "")
        if not 0 <= self.unknown_rate < 1:
            raise UsageError(
                f"--unknown-rate {self.unknown_rate:g}: give the share of false alarms, such as 0.01, or 0 for off"
            )
        _within("label-smoothing", self.label_smoothing, 0, 0.9, "")
        if self.budget is not None:
            seconds(self.budget)
        if self.lr not in (None, "auto"):
            _rate(str(self.lr))

    @property
    def learning_rate(self) -> float | None:
        """The learning rate given, or None where it is left to the rule or to be looked for."""
        return None if self.lr in (None, "auto") else _rate(str(self.lr))


def seconds(text: str) -> float:
    """A time such as 90s, 10m or 1.5h, in seconds; a number alone counts minutes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    value = float(match[1]) * {"s": 1, "m": 60, "": 60, "h": 3600}[match[2]] if match else 0.0
    if value <= 0:
        raise UsageError(f"--budget {text}: give a time such as 90s, 10m or 1.5h")
    return value


def read(path: str | Path) -> dict[str, Any]:
    """The options in a TOML file, by their names; each must exist and have its type.

    Raises UsageError, with the nearest names, for one that does not.
    """
    import difflib

    try:
        with Path(path).open("rb") as file:
            given = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read ({error.strerror}): give the path of a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is not TOML ({error}): write lines such as backbone = 'resnet50'") from error
    types = {entry.name: entry.type for entry in fields(Options)}
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in types:
            near = difflib.get_close_matches(name, types, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(types)}"
            raise UsageError(f"--config {path}: no option is called {key!r}: {hint}")
        found[name] = _typed(f"--config {path}: {key}", value, types[name])
    return found


def write(options: Options, path: Path) -> None:
    """The options as a TOML file that `--config` reads: all that are set, but where the run stands."""
    import tomli_w

    given = {name.replace("_", "-"): value for name, value in asdict(options).items() if value is not None}
    given.pop("out", None)
    path.write_text(tomli_w.dumps(given), encoding="utf-8", errors="replace")


def _typed(where: str, value: Any, wanted: Any) -> Any:
    wanted = str(wanted if isinstance(wanted, str) else getattr(wanted, "__name__", wanted))
    if "str" in wanted and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)  # lr = 0.001
    kinds: Mapping[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}
    name = next(name for name in ("bool", "int", "float", "str") if name in wanted)
    if not isinstance(value, kinds[name]) or (isinstance(value, bool) and name != "bool"):
        raise UsageError(f"{where} = {value!r}: it wants a {name}")
    return value


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 100:
        raise UsageError(f"--lr {text}: give a learning rate such as 1e-4, or auto")
    return rate


def _within(name: str, value: float | None, least: float, most: float, unit: str) -> None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"--{name} {value:g}: give {f'{unit} ' if unit else ''}from {least:g} to {most:g}")
