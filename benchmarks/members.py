"""Members of one chunk: batched (vmap), one after another in one program (lax.map), or a loop of compiled runs."""

from __future__ import annotations

from benchmarks.contender import PEAK_MEMORY, Contender, Job, Workload
from benchmarks.selection import BATCH, Study, arrays, folds_of, network
from benchmarks.steps import use_cpu_devices

EPOCHS = 2
COUNTS = {"mlp": (2, 16, 128), "cnn": (2, 16), "lstm": (2, 16, 64)}


def _case(name: str, quick: bool) -> tuple[Study, int]:
    kind, members = name.split(" × ")
    count = 2 if quick else int(members)
    return Study("digits", kind.lower(), "hold out", (1e-3,), count, 1 if quick else EPOCHS), count


def _contender(together: bool | None, devices: int | None = None) -> Contender:
    def build(case: str, quick: bool) -> Job:
        import jax

        import fnn

        if devices:
            use_cpu_devices(devices)
        study, count = _case(case, quick)
        x, y, classes = arrays(study, quick)
        model, optimizer, task = network(study.kind, classes), fnn.optim.adam(1e-3), fnn.tasks.multiclass(classes)
        seeds = 1 if together is None else count

        def run() -> None:
            for seed in range(count // seeds):
                fnn.selection.cross_validate(
                    model, optimizer, task, (x, y), key=jax.random.key(seed), folds=folds_of(study, y), seeds=seeds,
                    epochs=study.epochs, batch_size=BATCH, together=bool(together), chunk=seeds, progress=False,
                )  # fmt: skip

        return Job(run, calls=count)

    return Contender(build, needs=("sklearn",))


WORKLOAD = Workload(
    title=f"one member trained and scored on digits, {EPOCHS} epochs, everything compiled",
    cases=tuple(f"{kind.upper()} × {count}" for kind, counts in COUNTS.items() for count in counts),
    quick_cases=("MLP × 2",),
    contenders={
        "vmap": _contender(True),
        "lax.map": _contender(False),
        "loop": _contender(None),
        "vmap, 2 devices": _contender(True, 2),
        "lax.map, 2 devices": _contender(False, 2),
    },
    baseline="vmap",
    repeats=3,
    columns=(PEAK_MEMORY,),
    notes="Time per member. What `fnn.selection` chooses where `together` is not given rests on this table.",
)
