"""The `dragoman` command: one module a subcommand, thin over the packages that do the work."""
