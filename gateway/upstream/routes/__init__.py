"""Routing of requests: `config` reads settings into the values of `route`, and `table` finds a model's candidates.

`affinity` orders them, `pins` keep a session that has moved at its candidate. `policy` has the operator's rules for
parameters, `explain` shows a decision, `reload` replaces the table.
"""
