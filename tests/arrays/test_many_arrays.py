"""A hundred thousand arrays: what is done by pairs, or by what lies before each, does not end in time."""

import pytest

from interpreters import python

PROGRAM = """
import time
import numpy as np, fusedstep as fs
COUNT, GROUPS = 100_000, 200
params, grads = np.ones((2, COUNT, 2), np.float32)
names = [f"layer{i}.weight" for i in range(COUNT)]
def named(arrays):
    return dict(zip(names, arrays))
start = time.process_time()
def done(what):
    global start
    now = time.process_time()
    print(f"{what}: {(now - start) / COUNT * 1e6:.1f}", flush=True)
    start = now
schedule = fs.schedules.Cosine(1.0, total_steps=100)
opt = fs.Adam(named(params), lr=schedule, max_grad_norm=1.0, ema_decay=0.9, skip_nonfinite=True)
done("construct")
opt.step(named(grads))
done("step by name")
opt.step([*grads])
done("step in a list")
opt.step([*grads], zero_grads=True)
done("zeroed")
opt.step_mean([[*grads], [*grads]])
done("mean")
opt.bind([*grads])
opt.step()
done("bound")
grads[-1] = np.nan
assert not opt.step([*grads])
done("skipped")
for bad in (np.ones(3, np.float32), 1.0, params[-1]):
    try:
        opt.step([*grads[:-1], bad])
    except (TypeError, ValueError):
        pass
    else:
        raise AssertionError
try:
    opt.step({**named(grads), "layer1.wieght": grads[0]})
except ValueError as error:
    assert len(str(error)) < 5_000
done("errors")
opt.freeze(*names[::2])
opt.unfreeze(*opt.frozen)
done("frozen")
saved = opt.state_dict()
opt.load_state_dict(saved)
done("saved and loaded")
assert opt.step_count == 5
with opt.ema.swapped_in():
    pass
done("swapped")
share = COUNT // GROUPS
more = np.ones((COUNT, 2), np.float32)
groups = [
    {"params": {f"more{i}": more[i] for i in range(k, k + share)}, "lr": schedule}
    for k in range(0, COUNT, share)
]
opt = fs.SGD(groups)
done("constructed of groups")
opt.step([*more * 0.5])
done("step of groups")
opt = fs.SGD({"w": np.ones(1)})
for group in groups:
    opt.add_group(group)
done("groups added")
opt.lr = 0.5
opt.groups[-1]["lr"] = 0.25
done("rates")
assert len(opt.params) == COUNT + 1
assert (more != 1).all()
"""


@pytest.mark.exhaustive  # 10 s
def test_fault_39_a_hundred_thousand_arrays():
    done = python(PROGRAM)  # which waits 2 minutes for some seconds
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n") == 15  # microseconds an array, for who likes to know
