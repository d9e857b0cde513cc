"""Each number the README and the docs give, measured: see README.md beside this file."""
