"""Life of a process: tasks, supervision of children, readiness, memory tuning."""
