"""A Messages request to a chat request, part by part; `convert` is the way in."""
