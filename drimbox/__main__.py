"""`python -m drimbox` is `drimbox`."""

from drimbox.cli import main

main()
