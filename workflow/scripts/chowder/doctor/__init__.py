"""Whether this machine and this config can do a run, in one screen and a few seconds; nothing heavy is imported."""
