"""How long JAX traced, lowered and compiled, from its own events: the same measure for every library on it."""

from __future__ import annotations

import time
from typing import Any

_STAGES = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


class CompileClock:
    """Listens from its construction on; `seconds()` since then. A stage within a stage counts once."""

    def __init__(self) -> None:
        import jax.monitoring

        self.spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration: float, **_: Any) -> None:
        if event in _STAGES:
            now = time.perf_counter()
            self.spans.append((now - duration, now))

    def restart(self) -> None:
        self.spans.clear()

    def seconds(self) -> float:
        total, end = 0.0, 0.0
        for first, last in sorted(self.spans):
            total += max(0.0, last - max(first, end))
            end = max(end, last)
        return total
