"""Annotations beside the ratings that people gave to the same texts."""
