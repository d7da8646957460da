"""Tool calls of an answer: `tool_calls` collects their pieces, `tool_names` finds the tool that a name means,
`tool_arguments` completes their JSON (`near_json`).

`written_calls` finds calls that a server left in the text, in the forms of `call_markup`, with `typed_values`.
"""
