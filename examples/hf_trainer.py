"""The Trainer of Hugging Face Transformers with an optimizer of fusedstep's.

pip install transformers accelerate && python examples/hf_trainer.py

A tiny GPT-2 without pretrained weights learns to count, so that nothing is downloaded.
"""

import tempfile

import torch
import transformers

import fusedstep.torch

transformers.set_seed(0)
words, length = 32, 16
rows = [(torch.arange(length) + start) % words for start in range(words)]
data = [{"input_ids": row, "labels": row} for row in rows] * 4

model = transformers.GPT2LMHeadModel(
    transformers.GPT2Config(
        vocab_size=words,
        n_positions=length,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
)
with tempfile.TemporaryDirectory() as folder:
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            folder,
            num_train_epochs=5,
            per_device_train_batch_size=16,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            weight_decay=0.01,  # the Trainer makes the groups: none for biases and norms
            logging_steps=8,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=data,
        # State of 8 bits a number: a quarter of AdamW's.
        optimizer_cls_and_kwargs=(fusedstep.torch.AdamW, {"lr": 1e-2, "state_dtype": "8bit"}),
    )
    trainer.train()
for entry in trainer.state.log_history[:-1]:
    print(f"step {entry['step']}: loss {entry['loss']:.4f}")
