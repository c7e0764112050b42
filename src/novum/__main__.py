"""`python -m novum`."""

from novum.app.cli import main

main()
