"""Adapters and models as others take them: the Hub, GGUF, the lm-eval harness."""
