"""The console on the admin listener: pages without a build step or a library, and the JSON that they show."""
