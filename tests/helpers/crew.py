"""Processes that train together on this machine, over gloo."""

import importlib.util
import multiprocessing
import pickle
import sys
import traceback
from datetime import timedelta

LIMIT = 120  # seconds, after which work counts as hung


class Crew:
    """Calls functions of a file in several processes at once, which are started when needed.

    They stay for the next call, since importing torch takes longer than most work. Where one fails
    or hangs, all are ended, and the call raises.
    """

    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        self.members, self.calls = [], 0

    def __call__(self, count, work, *arguments):
        """What ``work(*arguments)`` returns in each of `count` processes of one group."""
        self.calls += 1
        store = self.folder / f"store{self.calls}"
        for _ in range(len(self.members), count):
            self.members.append(self._started())
        for rank, (_, pipe) in enumerate(self.members[:count]):
            pipe.send_bytes(pickle.dumps((work.__name__, arguments, store.as_uri(), rank, count)))
        results = []
        for rank, (_, pipe) in enumerate(self.members[:count]):
            try:
                if not pipe.poll(LIMIT):
                    raise TimeoutError(f"process {rank} of {count} hangs in {work.__name__}")
                error, result = pickle.loads(pipe.recv_bytes())
                if error:
                    raise RuntimeError(f"in process {rank} of {count}:\n{error}")
            except BaseException:
                self.end()
                raise
            results.append(result)
        return results

    def _started(self):
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(self.path, there), daemon=True)
        process.start()
        there.close()
        return process, here

    def end(self):
        """End the processes."""
        for process, pipe in self.members:
            process.kill()
            process.join()
            pipe.close()
        self.members = []


def _serve(path, pipe):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("crew_work", path)
    module = sys.modules["crew_work"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    while True:
        try:
            name, arguments, store, rank, count = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        error = result = None
        try:
            dist.init_process_group(
                "gloo",
                init_method=store,
                rank=rank,
                world_size=count,
                timeout=timedelta(seconds=LIMIT / 2),
            )
            result = getattr(module, name)(*arguments)
            dist.barrier()
            dist.destroy_process_group()
        except Exception:  # noqa: BLE001 - the caller raises it
            error = traceback.format_exc()
        pipe.send_bytes(pickle.dumps((error, result)))
