"""Evaluation: methods graded by metrics on a dataset, with what the numbers are worth."""
