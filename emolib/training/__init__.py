"""Instruction rows in, adapters out, through TRL and transformers."""
