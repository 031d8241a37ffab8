"""The training of an encoder: fine-tuning and distillation."""
