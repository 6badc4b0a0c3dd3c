"""Search for the best setting: grid, random, successive halving and Hyperband, every rung one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.metrics.protocol import Mode
from fnn.selection.cases import Plan, case_of, grid, judged, planned
from fnn.selection.cross_validation import cross_validate
from fnn.selection.members import filled, remembered, run_members
from fnn.selection.result import CrossValidation, gathered, mean_score
from fnn.tasks import as_task
from fnn.tasks.task import modes_of, require_mode
from fnn.train.console import interruption
from fnn.train.epoch import keys
from fnn.train.trainer import checked_run, epochs_between, pieces
from fnn.typing import Key, PyTree

__all__ = ["sweep"]


def sweep(
    model: Any,
    optimizer: Any,
    task: Any,
    data: tuple[Any, ...],
    *,
    key: Key,
    over: Mapping[str, Any],
    how: str = "grid",
    trials: int | None = None,
    epochs: int,
    metric: str = "loss",
    mode: Mode | None = None,
    factor: int = 3,
    **options: Any,
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
    brackets pass an epoch together, in one program, so a sweep compiles once per rung and not once per bracket.

    Args:
        model, optimizer, task, data: as for `cross_validate`.
        key: random key, of the trainings and of the draws.
        over: name -> numbers to try, or a distribution of `scipy.stats` (anything with `rvs(size, random_state)`).
        how: the search.
        trials: number of settings to draw, for "random" and "halving".
        epochs: of a setting that is never stopped, $R$.
        metric: what decides, a name among the scores; averaged over folds and seeds.
        mode: "min" or "max"; by default as the metric states it, "min" for the loss.
        factor: $\\eta$, how many settings one survivor stands for.
        options: everything else `cross_validate` takes: `folds`, `seeds`, `batch_size`, `scaler`, `progress`, …

    Returns:
        A `CrossValidation`, its `settings` those tried; `epochs` and `kept` say which were stopped, and when.

    Raises:
        ValueError: for settings nobody takes, trials that do not fit the search, an unknown metric.

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
    checks.one_of("sweep", "how", how, ("grid", "random", "halving", "hyperband"))
    checks.integer("sweep", "epochs", epochs)
    if checks.integer("sweep", "factor", factor) < 2:
        raise ValueError(f"sweep: expected factor to be at least 2, got {factor}")
    if metric not in (names := ("loss", *as_task(task).metrics)):
        raise ValueError(f"sweep: expected metric among {', '.join(map(repr, names))}, got {metric!r}")
    checks.one_of("sweep", "mode", mode, (None, "min", "max"))
    modes = modes_of(as_task(task)) | ({} if mode is None else {metric: mode})
    brackets = _brackets(how, trials, epochs, factor)
    settings = _drawn(over, how, sum(size for size, _ in brackets) if how == "hyperband" else trials, key)
    if how in ("grid", "random"):
        found = cross_validate(model, optimizer, task, data, key=key, over=settings, epochs=epochs, **options)
        return found._replace(modes=modes)
    mode = require_mode("sweep", metric, modes)
    if options.get("early_stopping") is not None:
        raise ValueError(f'sweep: how="{how}" stops settings itself; leave out early_stopping, or write how="random"')
    if how == "halving":
        brackets = [(len(settings), min(_log(len(settings), factor), _log(epochs, factor)))]
    running = {name: options.pop(name, None) for name in ("chunk", "mesh", "progress")}
    plan = planned("sweep", model, optimizer, task, data, key=key, over=settings, **options)
    member = _member(task, plan.maker, plan.training, epochs)
    with interruption() as asked:
        found = _raced(plan, member, brackets, (epochs, metric, mode, factor), asked, **running)
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
    power = 0
    while base ** (power + 1) <= value:
        power += 1
    return power


def _drawn(over: Mapping[str, Any], how: str, trials: int | None, key: Key) -> Sequence[dict[str, Any]]:
    """The settings to try."""
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
    rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(key, trials))))
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


@remembered
def _member(
    task: Any, maker: tuple[Any, ...], training: dict[str, Any], epochs: int
) -> Callable[[PyTree, PyTree], PyTree]:
    """One fold × setting × seed from where it was up to another epoch."""
    task = as_task(task)

    def member(one: PyTree, shared: PyTree) -> PyTree:
        case = case_of(maker, one, shared)
        parts, sources = pieces(case.model, case.optimizer, task, **training), keys(case.key)
        inputs = checked_run("sweep", task, case.data, case.rows, case.validation)
        run = one["run"] if "run" in one else parts.begin(sources, inputs, None)
        run, history = epochs_between(parts, sources, inputs, run, shared["first"], shared["last"], epochs)
        trained = run.progress.train_state.trained
        scores, outputs = judged(case, task, trained, shared)
        return run, history | scores | {"epochs": shared["last"], "diverged_at": run.progress.diverged_at}, outputs

    return member


def _raced(
    plan: Plan,
    member: Callable[..., Any],
    brackets: list[tuple[int, int]],
    rule: tuple[int, str, str, int],
    asked: Callable[[], bool],
    **how: Any,
) -> CrossValidation:
    """Rung after rung: the settings still in the race train to the next epoch at which some bracket decides."""
    epochs, metric, mode, factor = rule
    arguments, each = plan.arguments(), plan.shape[1] * plan.shape[2]
    alive, finished = np.ones(plan.shape[0], bool), np.zeros(plan.shape, bool)
    known: Any = None
    run: dict[str, PyTree] = {}
    first = 0
    for last in sorted({epochs // factor**k for _, most in brackets for k in range(most + 1)}):
        places = np.flatnonzero(np.repeat(alive, each))
        members = jax.tree.map(lambda leaf, places=places: leaf[places], arguments) | run
        shared = plan.shared | {"first": jnp.asarray(first), "last": jnp.asarray(last)}
        try:
            (state, *part), reached = run_members(member, members, shared, together=plan.together, **how)
        except KeyboardInterrupt:
            if known is None:
                raise
            finished.flat[places] = False
            break
        finished.flat[places] = reached
        known = _merged(known, part, places, reached, finished.size)
        if asked() or not reached.all():
            break
        score = mean_score(known[0][f"validation_{metric}"][:, last - 1].reshape(plan.shape))
        harmed = (known[0]["diverged_at"].reshape(plan.shape) >= 0).any(axis=(1, 2))
        score = np.where(harmed, np.nan, -score if mode == "max" else score)
        alive = _survivors(alive, score, brackets, last, epochs, factor)
        stay = np.repeat(alive, each)[places]
        run, first = {"run": jax.tree.map(lambda leaf, stay=stay: leaf[stay], state)}, last
    history, outputs = known
    return gathered(plan.settings, plan.shape, plan.split, plan.rows, history, outputs, finished, alive)


def _merged(known: Any, part: Any, places: np.ndarray, reached: np.ndarray, count: int) -> Any:
    """What is known of every member, with what this rung adds: epochs it did not run are NaN in its history."""

    def one(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        new, rows = new[reached], places[reached]
        history = np.issubdtype(new.dtype, np.inexact) and new.ndim == 2
        old[rows] = np.where(np.isnan(new), old[rows], new) if history else new
        return old

    if known is None:
        known = jax.tree.map(lambda leaf: filled(leaf[:0], count), part)
    return jax.tree.map(one, known, part)


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
            alive[order[max(1, size // factor ** decided[0]) :]] = False
    return alive
