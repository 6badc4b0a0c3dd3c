"""What `fnn.guide` says exists, belongs together, and trains."""

import re

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn import choices

SIZES = {"classes": 3, "labels": 2, "size": 4}
TARGETS = {
    "multiclass": jnp.array([0, 2, 1, 0]),
    "multilabel": jnp.ones((4, 2), int),
    "binary": jnp.array([0, 1, 1, 0]),
}
LOSSES_OF_TASKS = [problem for problem in choices.PROBLEMS if problem.task.startswith("fnn.tasks.")]


@pytest.mark.parametrize("problem", choices.PROBLEMS, ids=lambda problem: problem.name)
def test_task_and_last_layer_train_together(problem):
    task, layer = (eval(code, {"fnn": fnn}, SIZES) for code in (problem.task, problem.last_layer))
    model = fnn.serial(fnn.dense(2), layer)
    x, column = jnp.ones((4, 3, 3) if problem.name == "similarity" else (4, 3)), jnp.ones((4, 1))
    targets = fnn.tasks.as_task(task).encode(TARGETS.get(problem.name, column))
    step = fnn.train_step(model, fnn.optim.sgd(0.1), task)
    state = jax.eval_shape(step.init, jax.random.key(0), x)
    assert jax.eval_shape(step.update, state, jax.random.key(1), (x, targets))[1].shape == ()


@pytest.mark.parametrize("problem", LOSSES_OF_TASKS, ids=lambda problem: problem.name)
def test_the_metric_is_one_of_the_task(problem):
    task = eval(problem.task, {"fnn": fnn}, SIZES)
    assert re.match(r"\w+", problem.metric)[0] in task.metrics
    for name in re.findall(r"fnn\.metrics\.(\w+)", problem.metric):
        assert hasattr(fnn.metrics, name)


@pytest.mark.parametrize("table", choices.TABLES, ids=lambda table: table.name)
def test_every_name_in_a_table_is_one_of_fnn(table):
    names = re.findall(r"`([\w.]+)`", "".join(cell for row in table.rows for cell in row))
    assert names
    for name in names:
        where = fnn
        for part in name.split("."):
            where = getattr(where, part)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_everything_prints_without_markup_in_lines_that_fit():
    text = str(fnn.guide())
    assert "`" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert str(fnn.guide("Optimizer")) in text
    assert fnn.guide("classification") is fnn.guide("multiclass")
    assert {choices._ALSO[word] for word in choices._ALSO} <= {e.name for e in (*choices.PROBLEMS, *choices.TABLES)}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Linear", "; write fnn.dense"), ("Sequential", "; write fnn.serial"), ("conv2d", "; write fnn.conv"),
        ("LSTM", "; write fnn.lstm"), ("batchnorm", "; write fnn.batch_norm"), ("Adam", "; write fnn.optim.adam"),
        ("mse", "; write fnn.losses.mse"), ("cross_validate", "; write fnn.selection.cross_validate"),
        ("attention", ""), ("__path", ""),
    ],
)  # fmt: skip
def test_a_name_of_another_library_or_room_is_answered_with_the_one_here(name, meant):
    with pytest.raises(AttributeError) as caught:
        getattr(fnn, name)
    assert str(caught.value) == f"module 'fnn' has no attribute {name!r}{meant}"


def test_an_unknown_question_names_what_there_is():
    with pytest.raises(ValueError, match=r"nothing is said of 'optimisers'; did you mean 'optimizers'\?.*'multiclass'"):
        fnn.guide("optimisers")
    with pytest.raises(TypeError, match=r'write fnn\.guide\("multiclass"\)'):
        fnn.guide(fnn.tasks.binary)
