"""Schedules that tests enumerate."""

import fusedstep as fs

# One of each: a schedule that is added to the module and not here fails test_every_schedule_is_here (test_schedules.py).
EXAMPLES = {
    "Constant": fs.schedules.Constant(1e-3),
    "Step": fs.schedules.Step(0.1, step_size=30),
    "Exponential": fs.schedules.Exponential(0.1, gamma=0.97),
    "Cosine": fs.schedules.Cosine(1e-3, total_steps=100, warmup_steps=10, final_lr=1e-5),
    "Linear": fs.schedules.Linear(1e-3, total_steps=100, warmup_steps=10, final_lr=1e-5),
    "OneCycle": fs.schedules.OneCycle(0.1, total_steps=100),
    "InverseSquareRoot": fs.schedules.InverseSquareRoot(1e-3, warmup_steps=20),
    "MultiStep": fs.schedules.MultiStep(0.1, milestones=[30, 80]),
    "Polynomial": fs.schedules.Polynomial(1e-3, total_steps=100, warmup_steps=10, power=2.0),
    "WarmupStableDecay": fs.schedules.WarmupStableDecay(
        1e-3, total_steps=100, decay_steps=20, warmup_steps=10, decay_type="1-sqrt"
    ),
    "CosineRestarts": fs.schedules.CosineRestarts(0.1, first_decay_steps=20, t_mul=1.5, m_mul=0.5),
    "Join": fs.schedules.Join([0.1, fs.schedules.Cosine(0.1, total_steps=50)], boundaries=[30]),
    "Warmup": fs.schedules.Warmup(fs.schedules.Step(0.1, step_size=30), warmup_steps=10),
    "Plateau": fs.schedules.Plateau(0.1, patience=0),
}
