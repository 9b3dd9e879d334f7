"""Processes that train together on this machine, over gloo."""

import multiprocessing
import pickle
import traceback
from datetime import timedelta
from multiprocessing.connection import wait

LIMIT = 120  # seconds, after which work counts as hung


class Crew:
    """Calls functions in several processes at once, which are started when needed.

    They stay for the next call, since importing torch takes longer than most work. Where one fails
    or hangs, all are ended, and the call raises.
    """

    def __init__(self, folder):
        self.folder = folder
        self.members, self.calls = [], 0

    def __call__(self, count, work, *arguments):
        """What ``work(*arguments)`` returns in each of `count` processes of one group."""
        self.calls += 1
        store = self.folder / f"store{self.calls}"
        for _ in range(len(self.members), count):
            self.members.append(self._started())
        for rank, (_, pipe) in enumerate(self.members[:count]):
            pipe.send_bytes(pickle.dumps((work, arguments, store.as_uri(), rank, count)))
        try:
            return self._results({pipe: k for k, (_, pipe) in enumerate(self.members[:count])})
        except BaseException:
            self.end()
            raise

    def _results(self, ranks):
        results = [None] * len(ranks)
        while ranks:
            ready = wait(ranks, LIMIT)
            if not ready:
                raise TimeoutError(f"processes hang: {sorted(ranks.values())}")
            for pipe in ready:
                rank = ranks.pop(pipe)
                error, results[rank] = pickle.loads(pipe.recv_bytes())
                if error:
                    raise RuntimeError(f"in process {rank}:\n{error}")
        return results

    def _started(self):
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there,), daemon=True)
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


def _serve(pipe):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    while True:
        try:
            work, arguments, store, rank, count = pickle.loads(pipe.recv_bytes())
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
            result = work(*arguments)
            dist.barrier()
            dist.destroy_process_group()
        except Exception:  # noqa: BLE001 - the caller raises it
            error = traceback.format_exc()
        pipe.send_bytes(pickle.dumps((error, result)))
