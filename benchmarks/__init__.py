"""Each number the README and the docs give, measured."""
