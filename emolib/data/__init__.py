"""Corpora to instruction rows and benchmark items; prompts; answers read."""
