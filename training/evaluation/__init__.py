"""Evaluation tasks, one a file: `python -m training.evaluate TASK` runs them.

Each task has `add_arguments(parser)`, which adds the options that the task reads, and `evaluate(arguments)`, which
returns its numbers as a dictionary for JSON.
"""
