"""Chat requests of clients for upstreams that speak chat: the client's bytes go out, and the upstream's come back.

Replaced are the model's name, in both directions, and `stream_options.include_usage`, since every stream is metered.
A request goes by way of Messages instead where something in it has to change for its upstream, or for a policy.
"""
