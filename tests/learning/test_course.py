"""A job becomes batches that each device has an equal share of."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tl.learning.loop import Course
from tl.learning.rules import tuning_rule
from tl.progress import Progress


def _course(photos: int, replicas: int) -> Course:
    job = SimpleNamespace(train=np.arange(photos), seed=0, balanced=False)
    course = Course(job, SimpleNamespace(replicas=replicas), None, Path("none"), Progress(), None)  # type: ignore[arg-type]
    course.rule = tuning_rule(1000, "last")
    return course


@pytest.mark.parametrize(
    ("photos", "replicas", "batch"), [(100, 1, 32), (20, 1, 20), (100, 3, 33), (2, 4, 4), (1, 2, 2)]
)
def test_each_device_gets_as_many_photos_as_the_others(photos, replicas, batch):
    course = _course(photos, replicas)
    course._begin(32)
    assert course.order.batch == course.rule.batch == batch
    taken = course.order.at(0)
    assert len(taken) == batch
    assert set(taken.tolist()) <= set(range(photos))
