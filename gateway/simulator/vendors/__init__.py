"""Hosted servers as the simulator plays them: strict about what each refuses, and true to the form of its answers.

A server is a row of `rows`; `checks` holds a request to it, `answers` gives a completion its form, `words` its errors.
The rows are written from what the servers do, not from the gateway's own table of vendors: each checks the other.
"""
