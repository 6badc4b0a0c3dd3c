"""Does a test fall when a line is wrong? Changes one operator or number at random in a copy, and runs the tests given.

    python tests/mutants.py fnn/kernels/pooling/windows.py tests/test_pooling.py --count 10

A mutant that lives is a missing test, or a line that says the same either way (a bound that only moves memory).
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


def places(tree):
    """The nodes of function bodies that can be changed; annotations and what an error says are left alone."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        waiting = list(function.body)
        while waiting:
            node = waiting.pop()
            if isinstance(node, (ast.Raise, ast.JoinedStr, ast.FunctionDef, ast.Assert)):
                continue
            operators = [getattr(node, "op", None), *getattr(node, "ops", [])]
            number = isinstance(node, ast.Constant) and isinstance(node.value, (int, float))
            if number or any(type(one) in SWAPS for one in operators):
                yield node
            waiting.extend(ast.iter_child_nodes(node))


def change(node):
    """One change of `node`, in place."""
    if isinstance(node, ast.Constant):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif hasattr(node, "ops"):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    else:
        node.op = SWAPS[type(node.op)]()


def killed(source, text, tests):
    """Whether the tests fall over the file `source` made of `text`."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "copy"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        (tree / source).write_text(text)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
        settings = os.environ | {"PYTHONPATH": str(tree)}
        return subprocess.run(command, cwd=tree, env=settings, capture_output=True).returncode != 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    original = ast.parse((ROOT / given.source).read_text())
    number = len(list(places(original)))
    for place in random.Random(given.seed).sample(range(number), min(given.count, number)):
        tree = copy.deepcopy(original)
        node = list(places(tree))[place]
        before = ast.unparse(node)
        change(node)
        died = killed(given.source, ast.unparse(tree), given.tests)
        verdict = "killed" if died else "LIVES "
        print(f"{verdict} {given.source}:{node.lineno}: {before}  ->  {ast.unparse(node)}", flush=True)


if __name__ == "__main__":
    main()
