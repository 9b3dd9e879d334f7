"""Mistakes, each of which type checkers must report where a comment says so.

After "error:" is who alone reports it: mypy takes the elements of a list in place for what is asked.
"""

import numpy as np
import torch

import fusedstep as fs
import fusedstep.torch

w = np.zeros(3)
opt = fs.AdamW({"w": w})
numbers, words = [1.0, 2.0], ["a", "b"]

fs.AdamW("nonsense")  # error
fs.AdamW(42)  # error
fs.AdamW(None)  # error
fs.AdamW(b"w")  # error
fs.AdamW(1e-3, {"w": w})  # error
fs.AdamW(numbers)  # error
fs.AdamW(words)  # error
fs.AdamW([1.0, 2.0])  # error: pyright
fs.AdamW({"w": 1.0})  # error
fs.AdamW({"w": "x"})  # error
fs.AdamW({"w": None})  # error
fs.AdamW({"w": {"x": numbers}})  # error
fs.AdamW({1: w})  # error
fs.AdamW(torch.nn.Linear(3, 2))  # error
fs.AdamW({"w": w}, lr="fast")  # error
fs.AdamW({"w": w}, lr=lambda: 0.1)  # error
fs.AdamW({"w": w}, lr=lambda step: "fast")  # error
fs.AdamW({"w": w}, learning_rate=0.1)  # error
fs.AdamW({"w": w}, betas=0.9)  # error
fs.AdamW({"w": w}, amsgrad="yes")  # error
fs.AdamW({"w": w}, state_dtype="4bit")  # error
fs.AdamW({"w": w}, decay_mask=3)  # error
fs.AdamW({"w": w}, working_copy={"w": 1})  # error
opt.step(42)  # error
opt.step("w")  # error
opt.step(None)  # error
opt.step(numbers)  # error
opt.step([[1.0]])  # error: pyright
opt.step({"w": 1.0})  # error
opt.step({"w": w}, zero_grads="yes")  # error
opt.step({"w": w}, 2.0)  # error
opt.bind(3)  # error
opt.step_mean([{"w": 1}])  # error
opt.step_mean([{"w": w}], weights=1)  # error
opt.step_rows(0, [1], w)  # error
opt.step_rows("w", "1", w)  # error
opt.add_group([w])  # error
opt.freeze(0)  # error
opt.lr = "fast"  # error
opt.step_count = 3  # error
opt.groups = ()  # error
opt.optimise()  # error
fs.create(3, {"w": w})  # error
fs.create("adam", 3)  # error
fs.EMA(3)  # error
fs.EMA(w, init="ones")  # error
fs.EMA(w).update("w")  # error
fs.functional.adam(w, w, w, w)  # error
fs.functional.adam(w, w, w, w, step="1")  # error
fs.functional.adam(w, w, w, w, step=1, momentum=0.9)  # error
fs.functional.adamm(w, w, step=1)  # error
fs.schedules.Cosine("fast", total_steps=10)  # error
fs.schedules.Plateau(0.1, mode="highest")  # error
fs.schedules.Join(["fast"], boundaries=[])  # error
fs.checkpoint.save("run", opt=w)  # error
fs.set_num_threads("all")  # error
fs.Adamm({"w": w})  # error
fusedstep.torch.AdamW("nonsense")  # error
fusedstep.torch.AdamW([torch.zeros(3)], lr="fast")  # error
fusedstep.torch.AdamW([torch.zeros(3)], fused=True)  # error
fusedstep.torch.SGD([torch.zeros(3)], rho=0.9)  # error
