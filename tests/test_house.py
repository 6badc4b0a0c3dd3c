"""What holds for every source file."""

import ast
import functools
import inspect
import re
import sys
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

import fnn

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for room in ("fnn", "tests", "examples", "benchmarks") for path in (ROOT / room).rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
INLINED = (ast.ListComp, ast.SetComp, ast.DictComp)


def bound(function):
    """The names a function binds itself: arguments and what its own body assigns."""
    names = {node.arg for node in ast.iter_child_nodes(function.args) if isinstance(node, ast.arg)}
    waiting = list(function.body) if isinstance(function.body, list) else [function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if not isinstance(node, (*FUNCTIONS, *INLINED, ast.GeneratorExp)):
            waiting.extend(ast.iter_child_nodes(node))
    return names


def taken_names(tree, outer=frozenset(), own=frozenset()):
    """Line and name of every inlined comprehension that binds a name its function takes from an enclosing one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FUNCTIONS):
            yield from taken_names(node, outer | own, bound(node))
            continue
        if isinstance(node, INLINED):
            targets = {name.id for part in node.generators for name in ast.walk(part.target) if hasattr(name, "id")}
            yield from ((node.lineno, name) for name in sorted((targets & outer) - own))
        yield from taken_names(node, outer, own)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_comprehension_binds_a_name_of_an_enclosing_function(path):
    """Python 3.12.1 and 3.13.0 inline comprehensions and then lose the enclosing function's name: a NameError."""
    assert list(taken_names(ast.parse(path.read_text()))) == []


def test_a_comprehension_that_takes_the_name_is_found():
    source = "def f(a):\n    def g(x):\n        return list(a for _ in x), [a for a in x], {b: a for b in x}\n"
    assert list(taken_names(ast.parse(source))) == [(3, "a")]


PROVIDES = {"sklearn": "scikit-learn", "PIL": "pillow", "orbax": "orbax-checkpoint"}


def installed_by_readme():
    """What README's first command installs: fnn, what it depends on and NumPy with it, and the extras it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r'pip install -e "\.\[([\w,]+)\]" && \S+ examples/', (ROOT / "README.md").read_text())[1]
    lists = [project["dependencies"], *(project["optional-dependencies"][name] for name in extras.split(","))]
    return {"fnn", "numpy", *(re.match(r"[\w-]+", requirement)[0] for wanted in lists for requirement in wanted)}


def imported(tree):
    """The packages that a source imports, wherever it does, without Python's own."""
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_imports_what_the_first_command_installs(path):
    tree = ast.parse(path.read_text())
    packages = {PROVIDES.get(package, package) for package in imported(tree)}
    needs = re.search(r"^Needs: (.*)$", ast.get_docstring(tree) or "", re.M)  # what it says that it needs besides
    assert packages <= installed_by_readme() | set(re.findall(r"[\w-]+", needs[1] if needs else ""))


def test_no_test_for_several_devices_is_skipped_for_ever():
    """A test that skips itself on one device never runs; one marked `@pytest.mark.devices(2)` has a job."""
    tests = {path.name: path.read_text() for path in (ROOT / "tests").glob("test_*.py")}
    skipping = [name for name, text in tests.items() if re.search(r"skipif\(.*device", text)]
    assert skipping == []


def counted(function, lines):
    """Lines of code in a function's body: neither empty, nor a comment, nor the docstring."""
    first, *_ = body = function.body
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        body = body[1:]
    own = range(body[0].lineno, function.end_lineno + 1) if body else ()
    return sum(1 for number in own if (text := lines[number - 1].strip()) and not text.startswith("#"))


def lines_of_code(text):
    """Those that are neither empty, nor a comment, nor of a text that stands by itself, as a docstring does."""
    alone = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr))
    said = {
        line
        for node in alone
        if isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    code = (line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in said)
    return sum(1 for line in code if line and not line.startswith("#"))


def test_files_stay_under_300_lines_and_functions_under_40():
    """A signature does not count: one that spells every option is read as a table."""
    found = set()
    for path in sorted((ROOT / "fnn").rglob("*.py")):
        text, name = path.read_text(), path.relative_to(ROOT / "fnn").as_posix()
        if text.count("\n") > 300:
            found.add(name)
        defined = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
        found |= {f"{name}: {node.name}" for node in defined if counted(node, text.splitlines()) > 40}
    assert found == set()


@pytest.mark.parametrize("folder", ["examples", "examples/gallery"])
def test_an_example_has_at_most_60_lines(folder):
    scripts = {path.name: path.read_text().count("\n") for path in (ROOT / folder).glob("*.py")}
    assert {name: lines for name, lines in scripts.items() if lines > 60} == {}


def test_contributing_names_files_that_exist():
    """The drawing of the house and the walks through it, file by file."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    drawing, *walks = text[text.index("## The house") :].split("## The walk")
    named = {file for part in walks for file in re.findall(r"`([\w/]+\.py)`", part.split("\n## ")[0])}
    known = {path.relative_to(ROOT / "fnn").as_posix() for path in (ROOT / "fnn").rglob("*.py")}
    missing = {file for file in named if not any(path == file or path.endswith(f"/{file}") for path in known)}
    assert missing == set()
    top = {path.stem for path in (ROOT / "fnn").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert top - {"__init__"} <= set(re.findall(r"\w+", drawing))
    inside = {path.stem for path in (ROOT / "fnn" / "kernels").rglob("*.py")}
    assert inside - {"__init__"} <= set(re.findall(r"\w+", drawing))


VERBS = [
    "fit", "trainer", "train_step", "evaluate", "predict", "every", "summary", "selection.cross_validate",
    "selection.sweep", "selection.ensemble", "selection.snapshots", "selection.learning_curve", "selection.rate_range",
    "selection.using", "selection.k_fold", "selection.stratified_k_fold", "selection.group_k_fold",
    "selection.hold_out", "diagnostics.diagnose", "diagnostics.explain_divergence",
]  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_the_signature_of_a_verb_says_what_every_argument_is(name):
    """By name: neither `Any` nor `**options`; what is trained on has a real type, which `Any` is not."""
    verb = inspect.unwrap(functools.reduce(getattr, name.split("."), fnn))
    signature = inspect.signature(verb)
    said = {name: one.annotation for name, one in signature.parameters.items()} | {"→": signature.return_annotation}
    assert [name for name, text in said.items() if re.search(r"\bAny\b", text)] == []
    assert [one.name for one in signature.parameters.values() if one.kind is one.VAR_KEYWORD] == []
    hints = typing.get_type_hints(verb)
    real = {name: hints.get(name) for name in ("data", "batch", "rows", "validation", "groups", "targets")}
    assert [name for name, hint in real.items() if hint is Any or Any in typing.get_args(hint)] == []


PARTICIPLE = re.compile(
    "(?:ed|ing|en)$|^(?:bound|brought|built|done|drawn|felt|found|gone|held|kept|known|left|lost|made|meant|said|sent|"
    "shown|swept|taught|thought|told|worn)$"
)
FIELD_TERMS = {
    # what the field, jax.nn, optax, Keras or scikit-learn calls it
    *("masked", "thresholded", "truncated", "squared", "weighted", "generalized", "stratified", "scheduled"),
    *("floating", "embedding", "learning", "training", "linen", "misclassified"),
    # fnn.selection's ways to split: `repeated` splits, the folds `using` a splitter
    *("repeated", "using"),
    # layers named by what they are: a frozen layer, a shared one, a stack
    *("frozen", "shared", "stacked"),
    # nouns and verbs that end so
    *("ceiling", "mapping", "rounding", "scoring", "accept", "flatten", "listen", "need", "open", "seed", "widen"),
    # the words of a question: `batched_is_faster`, and what an optimizer's state answers, beside `history["skipped"]`
    *("batched", "skipped"),
}


def participles(tree):
    """The functions whose names begin with a participle; properties are read like fields."""
    defined = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    for node in defined:
        first = node.name.strip("_").partition("_")[0]
        if not PARTICIPLE.search(first) or first in FIELD_TERMS or node.name.startswith("__"):
            continue
        if not any(isinstance(by, ast.Name) and by.id == "property" for by in node.decorator_list):
            yield node.name


def test_no_function_is_named_by_a_participle():
    """A verb for what it does or a noun for what it gives can be guessed: `shuffle`, not `shuffled`."""
    sources = sorted((ROOT / "fnn").rglob("*.py"))
    assert {(path.name, name) for path in sources for name in participles(ast.parse(path.read_text()))} == set()


def test_a_participle_is_found():
    source = "class A:\n    def kept(self):\n        def _drawn_rows(): ...\n    @property\n    def used(self): ...\n"
    assert list(participles(ast.parse(source))) == ["kept", "_drawn_rows"]


def test_what_trains_is_short():
    """`fit`, `trainer` and the loop beneath both, signatures and imports included."""
    sources = [(ROOT / "fnn" / "train" / name).read_text() for name in ("fit.py", "trainer.py", "loop.py")]
    assert sum(map(lines_of_code, sources)) < 300


WORDS_IN_COMMON = 4
"""As many may two files say in a row, "expected targets of shape": what is the same beyond that is one function."""


def texts(tree):
    """What a source says to its reader in a row: its texts, docstrings aside, cut where a value is filled in."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    said |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in (node for node in ast.walk(tree) if id(node) not in said):
        if isinstance(node, ast.JoinedStr):
            filled = "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            yield from filled.split("\0")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def runs_of_words(tree):
    for text in texts(tree):
        words = [bare for word in text.split() if (bare := word.strip('.,;:"'))]
        yield from (tuple(words[i : i + WORDS_IN_COMMON + 1]) for i in range(len(words) - WORDS_IN_COMMON))


def test_an_error_is_worded_in_one_file():
    """A family of errors is a function of `fnn.checks`, or of the room it belongs to; what stays is said once."""
    files = {}
    for path in sorted((ROOT / "fnn").rglob("*.py")):
        for run in runs_of_words(ast.parse(path.read_text())):
            files.setdefault(" ".join(run), set()).add(path.relative_to(ROOT / "fnn").as_posix())
    assert {run: names for run, names in files.items() if len(names) > 1} == {}


def test_a_text_is_found_around_its_values():
    source = 'def f(n):\n    """A text of several words."""\n    raise E(f"{n}: one two three four five, got {n}")\n'
    assert list(runs_of_words(ast.parse(source))) == [
        ("one", "two", "three", "four", "five"),
        ("two", "three", "four", "five", "got"),
    ]
