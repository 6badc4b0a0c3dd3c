"""Which to choose: the common answers in one place, for `fnn.guide` and the documentation."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from fnn import checks

__all__ = ["PROBLEMS", "TABLES", "Problem", "Table", "guide"]


class Problem(NamedTuple):
    """What to predict, and what belongs together for it; `task`, `last_layer` and `metric` are code."""

    name: str
    predicts: str
    task: str
    last_layer: str
    activation: str
    loss: str
    metric: str

    def __str__(self) -> str:
        applies = "" if self.activation == "none" else f": the loss applies {self.activation}"
        last_layer = f"{self.last_layer}, then nothing{applies}"
        lines = {"task": self.task, "last layer": last_layer, "loss": self.loss, "metric": self.metric}
        return "\n".join([f"{self.name}: {self.predicts}", *(f"  {name:<12}{text}" for name, text in lines.items())])


class Table(NamedTuple):
    """A question with its answers: `rows` of (what to take, when); names of fnn stand in backticks."""

    name: str
    question: str
    columns: tuple[str, str]
    rows: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        rows = [[cell.replace("`", "") for cell in row] for row in self.rows]
        width = max(len(row[0]) for row in rows)
        return "\n".join([f"{self.name}: {self.question}", *(f"  {a:<{width}}  {b}" for a, b in rows)])


PROBLEMS = (
    Problem("binary", "one of two classes", "fnn.tasks.binary()", "fnn.dense(1)", "sigmoid",
            "binary cross-entropy of the logit", "accuracy; f1 or roc_auc where one class is rare"),
    Problem("multiclass", "one of many classes", "fnn.tasks.multiclass(classes)", "fnn.dense(classes)", "softmax",
            "cross-entropy of the class number", "accuracy, and fnn.metrics.confusion_matrix"),
    Problem("steps", "a class at every step or pixel", "fnn.tasks.multiclass(classes, ignore_index=-1)",
            "fnn.dense(classes)", "softmax", "cross-entropy of the class numbers that are not -1", "accuracy of those"),
    Problem("multilabel", "several labels at once", "fnn.tasks.multilabel(labels)", "fnn.dense(labels)", "sigmoid",
            "binary cross-entropy of every label", "accuracy; fnn.metrics.f1 where labels are rare"),
    Problem("regression", "a number", "fnn.tasks.regression()", "fnn.dense(1)", "none", "squared error",
            "rmse, r2"),
    Problem("robust regression", "a number, with outliers among the targets",
            "fnn.tasks.regression(loss=fnn.losses.huber_loss)", "fnn.dense(1)", "none",
            "Huber's: squares of small errors, absolute values of large ones", "mae"),
    Problem("quantiles", "an interval", "fnn.tasks.quantile((0.05, 0.5, 0.95))", "fnn.dense(3)", "none",
            "quantile (pinball) loss", "coverage: the share inside, near 0.9 here"),
    Problem("distribution", "a number and its spread", 'fnn.tasks.distribution("gaussian")', "fnn.dense(2)", "none",
            "negative log-likelihood of mean and log-variance", "negative_log_likelihood of rows not seen"),
    Problem("counts", "a count", "fnn.losses.poisson_negative_log_likelihood", "fnn.dense(1)", "exp",
            "Poisson's negative log-likelihood of the log-rate; targets (rows, 1)", "the loss of rows not seen"),
    Problem("margin", "one of two classes, -1 or 1, by a line as far from both as it can be",
            "fnn.losses.hinge_loss", "fnn.dense(1)", "none", "hinge loss; targets (rows, 1)", "the sign's accuracy"),
    Problem("similarity", "what lies near what",
            "lambda y, _: fnn.losses.triplet_margin_loss(y[:, 0], y[:, 1], y[:, 2])", "fnn.dense(size)", "none",
            "triplet margin loss of three embeddings; x (rows, 3, features)",
            "the share of triplets in the right order"),
)  # fmt: skip
"""What belongs together, problem by problem."""

_TAKE = ("take", "when")
TABLES: tuple[Table, ...] = (
    Table("activations", "behind hidden layers", _TAKE, (
        ("`relu`", "first choice: cheap, and its gradient does not fade where it is positive"),
        ("`leaky_relu`, `elu`, `selu`", "units die: silent for all rows, they learn no more"),
        ("`gelu`, `silu`, `mish`", "deep networks, where smoothness pays"),
        ("`tanh`", "recurrent layers, small networks of standardized inputs"),
        ("`sigmoid`", "gates alone: over ten layers its gradients vanish"),
    )),
    Table("initializers", "of the kernels", ("take", "before"), (
        ("`initializers.he_normal`", "relu and its relatives"),
        ("`initializers.glorot_uniform`", "tanh, sigmoid; also called Xavier"),
        ("`initializers.lecun_normal`", "selu, with `alpha_dropout`"),
        ("`initializers.orthogonal`", "matrices from step to step of a recurrence"),
    )),
    Table("optimizers", "which rule", _TAKE, (
        ("`optim.adam`", "first choice, at 1e-3"),
        ("`optim.adamw`", "with weight decay, which must not pass through the moments"),
        ("`optim.sgd`", "convolutional networks where the last percent counts: momentum 0.9 and a schedule"),
        ("`optim.adagrad`", "rare features: sparse inputs, embeddings"),
        ("`optim.rmsprop`", "recurrent networks, gradients whose size drifts"),
        ("`optim.lbfgs`", "small nets and data, all rows at once: `batch_size=None`"),
        ("`optim.lion`, `optim.muon`", "large weight matrices, where memory or steps count"),
        ("`optim.schedule_free`", "nobody knows how long the run will be"),
    )),
    Table("schedules", "of the learning rate", _TAKE, (
        ("`schedules.constant_schedule`", "a first run"),
        ("`schedules.cosine_decay_schedule`", "the length of the run is known"),
        ("`schedules.warmup_cosine_decay_schedule`", "the first steps diverge"),
        ("`schedules.step_decay`, `schedules.multi_step`", "recipes from papers"),
        ("`optim.reduce_on_plateau`", "the loss says when"),
        ("`schedules.cosine_onecycle_schedule`", "few epochs"),
    )),
    Table("normalization", "between layers", _TAKE, (
        ("`batch_norm`", "dense and convolutional networks, batches of 16 or more"),
        ("`layer_norm`, `rms_norm`", "sequences, recurrent layers, small batches"),
        ("`group_norm`", "images in small batches"),
        ("`instance_norm`", "every image by itself: style"),
        ("`weight_norm`, `spectral_norm`", "nothing may depend on the batch"),
    )),
    Table("regularization", "against overfitting", ("take", "symptom"), (
        ("`early_stopping=`, `augment=`, `dropout`", "the training loss falls, the validation loss rises"),
        ("`optim.adamw`, `optim.l2`", "weights grow"),
        ("`optim.l1`, `optim.proximal_l1`", "many useless features; the second gives exact zeros"),
        ("`label_smoothing=`, `data.mixup`", "classes are predicted too surely"),
        ("`data.random_crop`, `data.random_flip`, `data.cutout`", "few images"),
        ("`spatial_dropout`", "convolutions"),
        ("`recurrent_dropout=`, `zoneout=`", "recurrent layers"),
        ("`selection.ensemble`", "a few hundred rows"),
    )),
    Table("estimates", "how good a model is, by the rows there are", ("take", "rows"), (
        ("`selection.leave_one_out`, `selection.repeated`", "fewer than 200"),
        ("`selection.stratified_k_fold`", "up to some 10,000, with a few seeds"),
        ("`selection.hold_out`", "more"),
        ("`selection.time_series`", "in the order of time"),
        ("`selection.group_k_fold`", "several of one person or place"),
    )),
    Table("gradients", "what goes wrong with them", ("take", "symptom"), (
        ("`leaky_relu`, `elu`", "dead units: silent over all rows"),
        ("`tanh`, `batch_norm`, `layer_norm`, `residual`", "they vanish towards the first layers"),
        ("`initializers.he_normal`, `initializers.glorot_uniform`", "they shrink or grow from layer to layer"),
        ("`optim.clip_by_global_norm`, a smaller rate", "they explode, the loss is NaN"),
        ("`diagnostics.diagnose`", "to see which of these it is, layer by layer"),
        ("`diagnostics.explain_divergence`", "to see where the first NaN came from"),
    )),
)  # fmt: skip
"""What to take and when, question by question."""


def guide(question: str | None = None) -> Problem | Table | Guide:
    """What to take: the task, last layer, loss and metric of a problem, or the answers to a question of choice.

    Args:
        question: a problem ("multiclass", "regression", "counts", …) or a choice ("optimizers", "activations",
            "regularization", …); None for all of them, a `Guide`. Print what comes.

    Raises:
        ValueError: for what nothing is said of, naming what there is.

    Example:
        >>> import fnn
        >>> print(fnn.guide("binary"))
        binary: one of two classes
          task        fnn.tasks.binary()
          last layer  fnn.dense(1), then nothing: the loss applies sigmoid
          loss        binary cross-entropy of the logit
          metric      accuracy; f1 or roc_auc where one class is rare
    """
    if question is None:
        return Guide(PROBLEMS, TABLES)
    every: list[Problem | Table] = [*PROBLEMS, *TABLES]
    known = {entry.name: entry for entry in every}
    if not isinstance(question, str):
        raise TypeError(f'guide: expected a word, got {checks.name_of(question)}; write fnn.guide("multiclass")')
    asked = _ALSO.get(question.lower(), question.lower())
    if asked not in known:
        near = difflib.get_close_matches(asked, [*known, *_ALSO], 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"guide: nothing is said of {question!r}; {hint}there are {', '.join(map(repr, known))}")
    return known[asked]


class Guide(NamedTuple):
    """Everything there is to choose; prints as a page."""

    problems: tuple[Problem, ...]
    tables: tuple[Table, ...]

    def __str__(self) -> str:
        return "\n\n".join(map(str, (*self.problems, *self.tables)))


_ALSO = {
    word: name
    for name, words in {
        "binary": ("binary classification",),
        "multiclass": ("classification", "multiclass classification"),
        "steps": ("tags", "tagging", "segmentation"),
        "robust regression": ("outliers",),
        "quantiles": ("quantile", "interval"),
        "distribution": ("uncertainty",),
        "counts": ("count", "poisson"),
        "similarity": ("embedding",),
        "activations": ("activation",),
        "initializers": ("initializer", "initialization"),
        "optimizers": ("optimizer",),
        "schedules": ("schedule", "learning rate"),
        "normalization": ("norm",),
        "regularization": ("overfitting",),
        "estimates": ("validation",),
        "gradients": ("dying relu", "vanishing gradients", "exploding gradients"),
    }.items()
    for word in words
}
"""Other words for the same."""
