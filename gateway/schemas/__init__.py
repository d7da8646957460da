"""Wire types: TypedDicts of what clients and upstreams say, in their own field names. Data only, no behaviour."""
