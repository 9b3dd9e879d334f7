"""The device that is measured, and how: a CUDA card, or the CPU in a rehearsal of the script."""

import importlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

Step = Callable[[], Any]


class Times(NamedTuple):
    """Seconds per step: between two events of the device, and on the host's clock until it is done."""

    events: float
    wall: float


class Card:
    """A CUDA device through torch. Everything runs on torch's current stream."""

    kind = "cuda"

    def __init__(self) -> None:
        self._torch = importlib.import_module("torch")
        if not self._torch.cuda.is_available():
            raise RuntimeError("torch sees no CUDA device")

    def describe(self) -> dict[str, Any]:
        properties = self._torch.cuda.get_device_properties(0)
        return {
            "device": properties.name,
            "processors": properties.multi_processor_count,
            "memory": properties.total_memory,
            "last_level_cache": getattr(properties, "L2_cache_size", 0),
            "cuda_of_torch": self._torch.version.cuda,
        }

    def free_memory(self) -> int:
        self.clean()
        return int(self._torch.cuda.mem_get_info()[0])

    def clean(self) -> None:
        """Free what the allocators cache; CuPy has its own."""
        self.wait()
        self._torch.cuda.empty_cache()
        try:
            importlib.import_module("cupy").get_default_memory_pool().free_all_blocks()
        except Exception:  # noqa: BLE001 - not installed, or broken: then nothing is cached either
            return

    def wait(self) -> None:
        self._torch.cuda.synchronize()

    def timed(self, step: Step, count: int) -> Times:
        """So many back-to-back steps."""
        first, last = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.wait()
        start = time.perf_counter()
        first.record()
        for _ in range(count):
            step()
        last.record()
        last.synchronize()
        wall = time.perf_counter() - start
        return Times(first.elapsed_time(last) * 1e-3 / count, wall / count)

    def behind(self, step: Step) -> float:
        """Seconds of one step that is queued before the device gets to it.

        So the time that the host takes to launch it is not included.
        """
        first, last = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.wait()
        self._torch.cuda._sleep(4_000_000)  # cycles, some 2 ms
        first.record()
        step()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) * 1e-3

    def capture(self, step: Step) -> Step:
        """Capture the step in a graph, and return its replay."""
        graph = self._torch.cuda.CUDAGraph()
        self.wait()
        with self._torch.cuda.graph(graph):
            step()
        return lambda: graph.replay()

    def kernel_seconds(self, step: Step, count: int) -> float | None:
        """The time of a step's kernels according to the profiler; None if it sees none."""
        profiler = self._torch.profiler
        both = [profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA]
        self.wait()
        with profiler.profile(activities=both) as profile:
            for _ in range(count):
                step()
            self.wait()
        microseconds = 0.0
        for event in profile.key_averages():
            if not str(event.device_type).endswith("CUDA"):
                continue  # a call of the host
            own = getattr(event, "self_device_time_total", None)
            if own is None:  # before torch 2.4
                own = getattr(event, "self_cuda_time_total", 0.0)
            microseconds += own
        return microseconds * 1e-6 / count if microseconds > 0.0 else None


class Rehearsal:
    """The CPU in place of a card, with the same methods: its numbers mean nothing."""

    kind = "cpu"

    def __init__(self) -> None:
        importlib.import_module("torch").set_num_threads(1)  # idle threads of a pool spin

    def describe(self) -> dict[str, Any]:
        return {"device": "the CPU, for a rehearsal", "processors": 0, "memory": 0}

    def free_memory(self) -> int:
        return 1 << 20

    def clean(self) -> None:
        return

    def wait(self) -> None:
        return

    def timed(self, step: Step, count: int) -> Times:
        start = time.perf_counter()
        for _ in range(count):
            step()
        wall = (time.perf_counter() - start) / count
        return Times(wall, wall)

    def behind(self, step: Step) -> float:
        return self.timed(step, 1).wall

    def capture(self, step: Step) -> Step:
        return step

    def kernel_seconds(self, step: Step, count: int) -> float | None:
        return self.timed(step, count).wall


Device = Card | Rehearsal


def host_seconds(device: Device, step: Step, count: int) -> float:
    """Seconds of a call on the host, while the launch queue has room for all of them."""
    device.wait()
    start = time.perf_counter()
    for _ in range(count):
        step()
    seconds = (time.perf_counter() - start) / count
    device.wait()
    return seconds
