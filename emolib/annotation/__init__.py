"""Texts in, affect out: a list, a file, a folder on a cluster."""
