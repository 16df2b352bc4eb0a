"""The many names of training, validation and test data become the three that `tl` uses."""

ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def part_of(name: str) -> str | None:
    """ "train", "validation" or "test" for a folder or table entry called `name` in any case; None for other names."""
    return ALIASES.get(name.strip().casefold())
