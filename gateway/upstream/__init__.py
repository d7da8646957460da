"""The side that faces model servers: where a request goes, how it gets there, and when it is tried again.

`routes/` maps a model's name to upstreams, `models/` and `vendors/` hold facts about models and servers, `http/` the
clients for calls, `health/` decides after a failure, `capacity/` limits the calls at once.
"""
