"""Lightning trains with the optimizers, and goes on after it was killed."""

import importlib.util

import pytest

from killed import ends, same

pytest.importorskip("torch")
if importlib.util.find_spec("lightning") is None:  # its import takes seconds
    pytest.skip("Lightning is not installed", allow_module_level=True)

pytestmark = pytest.mark.exhaustive
RUN = """
import os, signal, sys
from pathlib import Path
import lightning, torch
from lightning.pytorch.callbacks import ModelCheckpoint
import fusedstep.torch

folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.automatic_optimization = AUTOMATIC

    def loss(self, batch):
        return torch.nn.functional.mse_loss(self.net(batch), batch.sum(1, keepdim=True))

    def training_step(self, batch):
        if self.automatic_optimization:
            return self.loss(batch)
        opt, schedule = self.optimizers(), self.lr_schedulers()

        def closure():
            loss = self.loss(batch)
            opt.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(opt, gradient_clip_val=0.5)
            return loss

        opt.step(closure)
        schedule.step()

    def on_train_batch_end(self, *_):
        if self.global_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def configure_optimizers(self):
        opt = fusedstep.torch.AdamW(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.StepLR(opt, 2, gamma=0.8)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


lightning.seed_everything(0)
model = Model()
trainer = lightning.Trainer(
    accelerator="cpu",
    max_epochs=2,
    gradient_clip_val=0.5 if model.automatic_optimization else None,
    callbacks=[ModelCheckpoint(folder, filename="five")],
    logger=False,
    enable_progress_bar=False,
)
data = torch.utils.data.DataLoader(torch.linspace(-1, 1, 80).reshape(20, 4), batch_size=4)
checkpoint = folder / "five.ckpt"
trainer.fit(model, data, ckpt_path=checkpoint if checkpoint.exists() else None)
opt = trainer.optimizers[0]
torch.save([model.state_dict(), opt.state_dict(), type(opt).__module__], folder / "end.pt")
"""


@pytest.mark.parametrize("automatic", [True, False])
def test_a_killed_run_is_resumed_to_the_same_bits(automatic, tmp_path):
    whole, resumed = ends(RUN.replace("AUTOMATIC", str(automatic)), tmp_path)
    assert same(whole, resumed)
    _, state, module = whole
    assert module == "fusedstep.torch"
    assert {int(own["step"]) for own in state["state"].values()} == {10}
    assert state["param_groups"][0]["lr"] == pytest.approx(1e-2 * 0.8**5)
