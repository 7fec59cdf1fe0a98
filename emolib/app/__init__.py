"""A page in the browser for those who do not program."""
