"""One file a subcommand. They import what is heavy when they run, so that ``--help`` is quick."""
