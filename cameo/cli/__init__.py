"""The command ``cameo``. Each file in ``commands`` is a subcommand: its name, with the command as ``command``."""
