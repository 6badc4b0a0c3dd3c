"""A page for every room with every public name of it, from the docstrings; and the gallery's figures looked at."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

TITLES = {
    "train": "Training", "layer": "Layers: the protocol and its combinators", "layers": "Layers",
    "activations": "Activations", "losses": "Losses", "metrics": "Metrics", "tasks": "Tasks", "models": "Models",
    "initializers": "Initializers", "optim": "Optimizers", "optim.presets.torch": "Optimizers as in torch",
    "optim.presets.keras": "Optimizers as in Keras", "optim.presets.textbook": "Optimizers as in textbooks",
    "schedules": "Schedules", "data": "Data", "selection": "Selection", "estimators": "Estimators",
    "interop": "Weights of others", "plot": "Figures", "testing.strategies": "Strategies for your own tests",
    "testing": "Checks for your own", "choices": "Which to choose",
}  # fmt: skip


COURSE = (
    "activations", "losses", "perceptron", "polynomials", "estimates", "optimizers", "optimizers_moving", "ewma",
    "rate_range", "schedules", "vanishing", "dying_relu", "initializers", "batch_norm", "sparsity", "dropout",
    "convolution", "lstm_gates", "many_trainings",
)  # fmt: skip


class InOrderOfTheCourse:
    """The key by which sphinx-gallery sorts the pictures: what is not in the course comes last."""

    def __init__(self, folder: str) -> None:
        pass

    def __call__(self, file: str) -> tuple[int, str]:
        name = file.removeprefix("plot_").removesuffix(".py")
        return (COURSE.index(name) if name in COURSE else len(COURSE)), name


def rooms() -> dict[str, str]:
    """Room -> the title of its page: those named here, then every other that the façade shows."""
    import fnn

    others = [name for name in fnn.__all__ if inspect.ismodule(getattr(fnn, name)) and name not in TITLES]
    return TITLES | {name: name.capitalize() for name in others}


def public(room: str) -> dict[str, Any]:
    """The names of a room that are not rooms themselves, written as a user writes them -> what they are."""
    import fnn

    module = importlib.import_module(f"fnn.{room}")
    found = {}
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        if not inspect.ismodule(value):
            flat = name in fnn.__all__ and getattr(fnn, name) is value
            found[f"fnn.{name}" if flat else f"fnn.{room}.{name}"] = value
    return found


def directive(room: str, name: str, value: Any) -> str:
    """The entry of a name, found under `fnn` and under its room, where the pages of the source look."""
    kind = "class" if inspect.isclass(value) else "function" if inspect.isroutine(value) else "data"
    last = name.rpartition(".")[2]
    spans = "".join(f'<span id="{other}"></span>' for other in (f"fnn.{last}", f"fnn.{room}.{last}") if other != name)
    also = f".. raw:: html\n\n   {spans}\n\n"
    return f"{also}.. auto{kind}:: {name}\n" + "   :no-value:\n" * (kind == "data")


def page(room: str, title: str) -> str:
    lines = [title, "=" * len(title), "", f".. automodule:: fnn.{room}", "   :no-members:", "   :no-index:", ""]
    return "\n".join([*lines, *(directive(room, name, value) for name, value in public(room).items())])


def write(app: Any) -> None:
    """The pages, written only where something changed, so that a second build reads little again."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    pages = {f"{room}.rst": page(room, title) for room, title in rooms().items()}
    listed = "\n".join(f"   {name.removesuffix('.rst')}" for name in pages)
    pages["index.rst"] = f"Reference\n=========\n\nEvery public name.\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n"
    for stale in {path.name for path in folder.iterdir()} - set(pages):
        (folder / stale).unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def looked_at(block: Any, block_vars: Any, gallery_conf: Any, **options: Any) -> str:
    """Sphinx-gallery's own scraper, which takes no figure in which texts lie on each other or are cut off.

    An animation becomes a GIF: what sphinx-gallery makes of one loads its buttons from elsewhere.
    """
    import matplotlib.pyplot as plt
    from figure_boxes import faults
    from matplotlib.animation import Animation
    from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper

    for number in plt.get_fignums():
        told = faults(plt.figure(number))
        if told:
            raise ValueError(f"{block_vars['src_file']}: {'; '.join(told)}")
    moving = [value for value in block_vars["example_globals"].values() if isinstance(value, Animation)]
    if not moving or not plt.get_fignums():
        return str(matplotlib_scraper(block, block_vars, gallery_conf, **options))
    path = Path(next(block_vars["image_path_iterator"])).with_suffix(".gif")
    moving[0].save(path, writer="pillow", dpi=80)
    plt.close("all")
    return str(figure_rst([str(path)], gallery_conf["src_dir"]))


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
