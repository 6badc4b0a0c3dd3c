"""Values, JVPs and VJPs that are not finite where mathematics is: every activation, loss, norm and optimizer.

Asked at ±inf, ±1e4, ±1, 0, the smallest subnormal and fully masked, in float16, bfloat16, float32 and float64, each
library the same questions. A point counts where the limit exists and fits the dtype, a derivative where its value does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contender import Contender, Job, Workload

if TYPE_CHECKING:
    from benchmarks.nonfinite.count import Counted

DTYPES = ("float16", "bfloat16", "float32", "float64")
PEERS = {"activations": "jax.nn", "losses": "optax", "norms": "flax", "optimizers": "optax"}


def _contender(library: str, *rooms: str, needs: tuple[str, ...] = ()) -> Contender:
    def build(room: str, quick: bool) -> Job | None:
        if room not in rooms:
            return None
        import jax

        from benchmarks.nonfinite import rooms as asked

        names = {"relu", "huber_loss", "layer_norm", "sgd"} if quick else None

        def run() -> list[Counted]:
            with jax.enable_x64(True):
                dtypes = [jax.numpy.dtype(name) for name in (DTYPES[2:] if quick else DTYPES)]
                return [one for dtype in dtypes for one in asked.counts(room, library, dtype, names)]

        def report(counted: list[Counted]) -> dict[str, Any]:
            rows = [{"contender": library} | _summary(counted)]
            if library == "fnn":
                peer, known = PEERS[room], asked.names_of_peer(room)
                shared = [one for one in counted if one.name in known]
                rows.append({"contender": f"fnn, what {peer} has"} | _summary(shared))
            return {"rows": rows}

        return Job(run, report=report)

    return Contender(build, needs=("optax", "scipy", *needs))


def _summary(counted: list[Counted]) -> dict[str, Any]:
    worst: dict[str, int] = {}
    for one in counted:
        worst[one.name] = worst.get(one.name, 0) + one.values + one.jvps + one.vjps
    return {
        "functions": len(worst),
        "asked": sum(one.asked for one in counted),
        "values": sum(one.values for one in counted),
        "jvps": sum(one.jvps for one in counted),
        "vjps": sum(one.vjps for one in counted),
        "where": ", ".join(f"{name} {times}" for name, times in sorted(worst.items()) if times) or "–",
    }


WORKLOAD = Workload(
    title="numbers that are not finite where mathematics is",
    cases=tuple(PEERS),
    contenders={
        "fnn": _contender("fnn", *PEERS),
        "jax.nn": _contender("jax.nn", "activations"),
        "optax": _contender("optax", "losses", "optimizers"),
        "flax": _contender("flax", "norms", needs=("flax",)),
    },
    timed=False,
    headings=("room", "library"),
    columns=(
        ("functions", "functions", "d"),
        ("numbers asked", "asked", ",d"),
        ("values", "values", ",d"),
        ("JVPs", "jvps", ",d"),
        ("VJPs", "vjps", ",d"),
        ("where", "where", ""),
    ),
    notes=(
        "Not finite of the numbers asked, in four dtypes. A number is asked for where its limit is finite and fits the "
        "dtype;\nthe limits are closed forms in float64 (benchmarks/nonfinite/)."
    ),
)
