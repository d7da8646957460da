"""`dragoman batch`: `command` parses the arguments, `run` submits files and resumes a run (`run_state`, `sent_files`).

`requests_file` and `results_file` are read and written, `calls` talks to the gateway, `wait` and `progress` show the
state of a batch.
"""
