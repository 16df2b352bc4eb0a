"""The size of a data set decides hyperparameters: pure functions, the reason beside each number."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadRule:
    """How a head is fitted: L2 strengths from strong to weak, L-BFGS iterations at each, and how they are compared.

    `rough` and `fine` are the largest slopes left when strengths are compared and when the head is fitted. With
    `one_thread` the linear algebra runs on one processor alone. With `every_fold` each of the folds is held out once;
    else only the first, which is enough photos by itself.
    """

    strengths: tuple[float, ...]
    iterations: int
    rough: float
    fine: float
    folds: int
    every_fold: bool
    one_thread: bool


def head_rule(photos: int) -> HeadRule:
    """The rule for so many training photos."""
    # From 1 (all but ignores the photos) to 1e-4 (separates any few thousand of them) lies the best strength for 40
    # photos as for 50,000; steps of sqrt(10) are fine enough, the loss is flat around its minimum.
    strengths = tuple(10 ** (-place / 2) for place in range(9))
    # Few photos make a single hold-out noisy: five folds below 2,000; beyond, a fifth held out once decides as well.
    every_fold = photos < 2000
    # Warm-started along the path, 30 iterations a strength come within 0.1 points of the converged solution.
    # A slope of 1e-4 ranks the strengths as one of 1e-6 does, in half the time.
    iterations = 100 if every_fold else 30
    # Matrices of a thousand photos are too small to share: a second thread of BLAS costs twice the processor time.
    one_thread = photos < 1000
    return HeadRule(strengths, iterations, rough=1e-4, fine=1e-6, folds=5, every_fold=every_fold, one_thread=one_thread)
