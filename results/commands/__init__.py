"""The subcommands of results, one file each."""
