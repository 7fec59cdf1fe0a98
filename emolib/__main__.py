"""`python -m emolib` is `emolib`; launchers of several processes want a module."""

from emolib.cli import main

if __name__ == "__main__":
    main()
