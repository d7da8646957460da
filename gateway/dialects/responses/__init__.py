"""OpenAI's Responses API as a dialect of upstreams.

A request is converted to chat completions first and from there to items, an answer the other way round: what the two
have in common is decided once, and this folder holds only what differs. Reasoning is the reason for it: its items come
back encrypted, travel sealed in the client's thinking blocks, and return in front of the calls they led to.
"""
