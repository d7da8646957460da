"""Facts about models. A `target` is what conversion reads of one.

They come from its name (`model_facts`) and from the `catalog`, the upstreams' own lists of models with their `prices`.
"""
