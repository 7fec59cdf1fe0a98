"""Answers and gold in, numbers with intervals out. No torch."""
