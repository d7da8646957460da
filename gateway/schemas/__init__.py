"""Wire types of clients and upstreams: TypedDicts with their own field names. Data only, no behaviour."""
