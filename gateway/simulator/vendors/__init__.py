"""Simulated hosted servers: strict about what each server refuses, and true to the form of its answers.

A server is a row of `rows`. `checks` applies the row to a request, `answers` formats a completion, `words` an error.
The rows are written from what the servers do, not from the gateway's own table of vendors: each checks the other.
"""
