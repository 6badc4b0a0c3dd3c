"""Search for the best setting: grid, random, successive halving and Hyperband, every rung one compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh

from fnn import checks, random_bits
from fnn.data.scaling import Scaler
from fnn.layer import Layer
from fnn.metrics.protocol import Mode
from fnn.optim.transform import Transform
from fnn.selection.cross_validation import run_plan
from fnn.selection.folds import Folds, Splitter
from fnn.selection.members import blank, run_members
from fnn.selection.plan import Plan, grid, make_plan, resumable_member_of
from fnn.selection.result import CrossValidation, assemble, mean_score
from fnn.tasks import Task, as_task
from fnn.tasks.task import modes_of, require_mode
from fnn.train.console import interruption
from fnn.train.options import Options
from fnn.train.processes import on_a_mesh, pace
from fnn.train.stopping import EarlyStopping
from fnn.typing import Arrays, Augmentation, DType, Key, Labels, LossFunction, PenaltyFunction, PyTree

__all__ = ["sweep"]

Run: TypeAlias = Callable[..., tuple[PyTree, np.ndarray]]


class Distribution(Protocol):
    """A distribution of `scipy.stats`."""

    def rvs(self, size: Any = None, random_state: Any = None) -> Any: ...


@on_a_mesh("sweep", everywhere=True)
def sweep(
    model: Layer | Callable[..., Layer],
    optimizer: Transform | Callable[..., Transform],
    task: Task | LossFunction,
    data: Arrays,
    *,
    key: Key,
    over: Mapping[str, Sequence[float] | Distribution],
    how: str = "grid",
    trials: int | None = None,
    epochs: int,
    metric: str = "loss",
    mode: Mode | None = None,
    factor: int = 3,
    folds: int | Folds | Splitter = 5,
    seeds: int = 1,
    batch_size: int | None = 32,
    scaler: Scaler | None = None,
    groups: Labels | None = None,
    early_stopping: EarlyStopping | None = None,
    penalty: PenaltyFunction | None = None,
    augment: Augmentation | None = None,
    shuffle: bool = True,
    training_metrics: bool = False,
    compute_dtype: DType | None = None,
    class_weight: str | None = None,
    together: bool | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> CrossValidation:
    """Train many settings and score them by cross-validation; the halving searches stop the worse ones early.

    - "grid": every combination.
    - "random": `trials` settings drawn at random.
    - "halving": the settings (a grid, or `trials` drawn ones) train a few epochs; the best $1/\\eta$ of them go on to
      $\\eta$ times as many epochs, and so on up to `epochs`.
    - "hyperband": successive halving from several first budgets at once: with
      $s_{max} = \\lfloor\\log_\\eta R\\rfloor$, bracket s begins with
      $\\lceil \\frac{s_{max}+1}{s+1}\\eta^s \\rceil$ settings and $R\\eta^{-s}$ epochs.

    A setting that goes on goes on from where it was: one that reaches `epochs` is the run it would be alone. All
    brackets pass an epoch together, in one program, so a sweep compiles once per rung and not once per bracket, and
    nothing when it is called again with what says the same: see `fnn.programs`.

    Args:
        key: random key, of the trainings and of the draws.
        over: name -> numbers to try, or a distribution of `scipy.stats` (anything with `rvs(size, random_state)`).
        how: the search.
        trials: number of settings to draw, for "random" and "halving".
        epochs: of a setting that is never stopped, $R$.
        metric: what decides, a name among the scores; averaged over folds and seeds.
        mode: "min" or "max"; by default as the metric states it, "min" for the loss.
        factor: $\\eta$, how many settings one survivor stands for.
        early_stopping: as for `cross_validate`; the halving searches stop settings themselves.

    Arguments that are not listed are those of `cross_validate`.

    Example:
        >>> import jax, jax.numpy as jnp, scipy.stats, fnn
        >>> x = jnp.linspace(-1, 1, 20).reshape(20, 1)
        >>> found = fnn.selection.sweep(
        ...     fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0), folds=2,
        ...     over={"learning_rate": scipy.stats.loguniform(1e-4, 0.5)}, how="halving", trials=9, epochs=9,
        ...     batch_size=5, progress=False)
        >>> found.epochs[:, 0, 0].tolist().count(1), int(found.kept.sum())
        (6, 1)

    References:
        Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, 2012; Jamieson and Talwalkar,
        Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016; Li et al., Hyperband: A Novel
        Bandit-Based Approach to Hyperparameter Optimization, 2018.
    """
    key = checks.random_key("sweep", key)
    checks.one_of("sweep", "how", how, ("grid", "random", "halving", "hyperband"))
    checks.integer("sweep", "epochs", epochs)
    checks.integer("sweep", "factor", factor, 2)
    checks.one_of("sweep", "metric", metric, ("loss", *as_task(task).metrics))
    checks.one_of("sweep", "mode", mode, (None, "min", "max"))
    modes = modes_of(as_task(task)) | ({} if mode is None else {metric: mode})
    brackets = _brackets(how, trials, epochs, factor)
    settings = _draw(over, how, sum(size for size, _ in brackets) if how == "hyperband" else trials, key)
    plan = make_plan(
        "sweep", model, optimizer, task, data, key=key, folds=folds, seeds=seeds, over=settings, scaler=scaler,
        groups=groups, class_weight=class_weight, together=together,
        options=Options(epochs, batch_size, penalty, augment, early_stopping, shuffle, training_metrics, compute_dtype),
    )  # fmt: skip
    if how in ("grid", "random"):
        return run_plan(plan, chunk=chunk, mesh=mesh, progress=progress)._replace(modes=modes)
    mode = require_mode("sweep", metric, modes)
    if early_stopping is not None:
        raise ValueError(f'sweep: how="{how}" stops settings itself; leave out early_stopping, or write how="random"')
    if how == "halving":
        brackets = [(len(settings), min(_log(len(settings), factor), _log(epochs, factor)))]
    run = functools.partial(run_members, chunk=chunk, mesh=mesh, progress=progress)
    with interruption() as asked:
        found = _race(plan, brackets, (metric, mode, factor), lambda: bool(pace(mesh, not asked())), run)
    return found._replace(modes=modes)


def _brackets(how: str, trials: int | None, epochs: int, factor: int) -> list[tuple[int, int]]:
    """(settings, halvings) of each bracket of Hyperband, the boldest first."""
    if how in ("grid", "hyperband") and trials is not None:
        meant = "every combination" if how == "grid" else "the settings its brackets need"
        raise ValueError(f'sweep: how="{how}" tries {meant}; leave out trials, or write how="random"')
    if how == "random" and trials is None:
        raise ValueError('sweep: how="random" needs to know how many settings to draw; write trials=50')
    if trials is not None:
        checks.integer("sweep", "trials", trials)
    if how != "hyperband":
        return []
    most = _log(epochs, factor)
    return [(-(-(most + 1) * factor**s // (s + 1)), s) for s in range(most, -1, -1)]


def _log(value: int, base: int) -> int:
    """$\\lfloor\\log_b v\\rfloor$ in whole numbers."""
    return max(power for power in range(value.bit_length()) if base**power <= value)


def _draw(over: Mapping[str, Any], how: str, trials: int | None, key: Key) -> Sequence[dict[str, Any]]:
    if not isinstance(over, Mapping) or not over:
        raise ValueError(f"sweep: expected over to map names to numbers or distributions, got {over!r}")
    drawn = [name for name, values in over.items() if hasattr(values, "rvs")]
    if trials is None:
        if drawn:
            raise ValueError(
                f'sweep: {drawn[0]!r} is a distribution; how="{how}" needs trials, the number of settings to draw'
                + (', with how="random"' if how == "grid" else "")
            )
        return grid("sweep", over)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(random_bits.fold_in(key, trials))))
    if not drawn:
        every = grid("sweep", over)
        if trials > len(every) and how != "hyperband":
            raise ValueError(
                f'sweep: {trials} trials of {len(every)} combinations; write how="grid", or a distribution'
            )
        chosen = rng.permutation(len(every))[:trials] if trials <= len(every) else rng.integers(len(every), size=trials)
        return [every[place] for place in chosen]
    columns = {
        name: values.rvs(size=trials, random_state=rng) if hasattr(values, "rvs") else rng.choice(values, trials)
        for name, values in over.items()
    }
    return [{name: column[trial].item() for name, column in columns.items()} for trial in range(trials)]


def _race(
    plan: Plan, brackets: list[tuple[int, int]], rule: tuple[str, Mode, int], goes_on: Callable[[], bool], run: Run
) -> CrossValidation:
    """Rung after rung: the settings still in the race train to the next epoch at which some bracket decides."""
    (metric, mode, factor), epochs = rule, plan.makers.options.epochs
    arguments, each = plan.arguments(), plan.shape[1] * plan.shape[2]
    alive, finished = np.ones(plan.shape[0], bool), np.zeros(plan.shape, bool)
    known: Any = None
    carries: dict[str, PyTree] = {}
    first = 0
    for last in sorted({epochs // factor**k for _, most in brackets for k in range(most + 1)}):
        places = np.flatnonzero(np.repeat(alive, each))
        members = jax.tree.map(lambda leaf, places=places: leaf[places], arguments) | carries
        try:
            (state, part), reached = run(
                resumable_member_of, plan.makers, members, plan.shared, first=first, last=last, together=plan.together
            )
        except KeyboardInterrupt:
            if known is None:
                raise
            finished.flat[places] = False
            break
        finished.flat[places] = reached
        known = _update(known, part, places, reached, finished.size)
        if not (reached.all() and goes_on()):
            break
        score = known[0][f"validation_{metric}"][:, last - 1].reshape(plan.shape)
        _require_defined(metric, score, known[0]["validation_loss"][:, last - 1].reshape(plan.shape))
        score = mean_score(score)
        harmed = (known[0]["diverged_at"].reshape(plan.shape) >= 0).any(axis=(1, 2))
        score = np.where(harmed, np.nan, -score if mode == "max" else score)
        alive = _survivors(alive, score, brackets, last, epochs, factor)
        stay = np.repeat(alive, each)[places]
        carries, first = {"carry": jax.tree.map(lambda leaf, stay=stay: leaf[stay], state)}, last
    history, outputs = known
    return assemble(plan, history, outputs, finished, alive)


def _require_defined(metric: str, score: np.ndarray, loss: np.ndarray) -> None:
    undefined = np.isnan(score) & np.isfinite(loss)
    if undefined.any():
        raise ValueError(
            f"sweep: {metric} has no value on the rows that fold {np.argwhere(undefined)[0][1]} validates on, so it "
            'cannot decide who goes on; write another metric, such as metric="loss", or larger folds'
        )


def _update(known: Any, part: Any, places: np.ndarray, reached: np.ndarray, count: int) -> Any:
    """What is known of every member, those that reached the end of a rung as they are there."""
    known = jax.tree.map(lambda leaf: blank(leaf, count), part) if known is None else known
    for old, new in zip(jax.tree.leaves(known), jax.tree.leaves(part), strict=True):
        old[places[reached]] = new[reached]
    return known


def _survivors(
    alive: np.ndarray, score: np.ndarray, brackets: list[tuple[int, int]], last: int, epochs: int, factor: int
) -> np.ndarray:
    """Who goes on: the best of each bracket that decides at this epoch, NaN last."""
    alive, begin = alive.copy(), 0
    for size, most in brackets:
        own, begin = np.arange(begin, begin + size), begin + size
        decided = [most - k + 1 for k in range(1, most + 1) if epochs // factor**k == last]
        if decided:
            order = own[np.argsort(np.where(alive[own], score[own], np.nan), stable=True)]
            order = order[alive[order]]
            if not np.isfinite(score[order]).any():
                checks.warn(
                    f"sweep: all {len(order)} settings that were to be compared after {last} epochs diverged, so that "
                    "the first ones go on by their place alone; try smaller learning rates"
                )
            alive[order[max(1, size // factor ** decided[0]) :]] = False
    return alive
