"""Evaluation tasks, one a file; `python -m training.evaluate TASK` runs them."""
