"""Facts about kinds of servers: `registry` has all rows, of `hosted` vendors and of `servers` that an operator runs.

`vendor` has the fields of a row, `recognition` finds out what a server without a configured vendor is. `learned` keeps,
in all processes (`learned_store`), each `adaptation` to a server that one of its refusals has led to.
"""
