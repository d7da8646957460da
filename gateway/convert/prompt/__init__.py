"""From a Messages request to a chat request, part by part; `request` is the way in."""
