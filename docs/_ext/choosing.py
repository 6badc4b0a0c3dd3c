"""docs/choosing.md from the tables of `fnn.guide`: `python docs/_ext/choosing.py` writes it, a test compares."""

from pathlib import Path

from fnn.choices import PROBLEMS, TABLES

PAGE = Path(__file__).resolve().parents[1] / "choosing.md"
HEAD = """# Which to choose

A first choice for the common case, and when to leave it. The same by `fnn.guide()`; one answer by its name:

```python
import fnn

print(fnn.guide("multiclass"))
```

```text
{example}
```

## The last layer and the loss

What belongs together is not a matter of taste: a task holds it, and a model that ends in a softmax too much is refused.

| what is predicted | task or loss, and last layer | the loss | to report |
|---|---|---|---|
"""


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    """The whole page."""
    multiclass = next(problem for problem in PROBLEMS if problem.name == "multiclass")
    text = HEAD.format(example=multiclass)
    for name, predicts, task, last_layer, activation, loss, metric in PROBLEMS:
        applied = "" if activation == "none" else f"; the loss applies {activation}"
        text += row(f"**{name}**: {predicts}", f"`{task}`<br>`{last_layer}`{applied}", loss, metric)
    for table in TABLES:
        text += f"\n## {table.name.capitalize()}\n\n{table.question[0].upper()}{table.question[1:]}.\n\n"
        text += row(*table.columns) + "|---|---|\n" + "".join(row(*cells) for cells in table.rows)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
