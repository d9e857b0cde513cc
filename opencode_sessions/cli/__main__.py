"""`python -m opencode_sessions.cli`, where the command is not on the path."""

from . import main

main()
