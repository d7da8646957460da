"""Calls at once: `lanes` share the configured limits of each `lane` over all processes; `loads` measure servers without
configured limits, and `knee` learns from their speed how many calls they take.
"""
