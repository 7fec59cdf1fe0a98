"""Prompts in, answers with probabilities out."""
