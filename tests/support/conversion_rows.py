"""The lines of docs/conversion.md. `tests` names rules (`O19`), tests (`usage.the_parts_add_up`) or golden cases."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    given: str
    made: str
    note: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    text: str
    rows: tuple[Row, ...]
    is_answer: bool = False


def row(given: str, made: str, note: str, *tests: str) -> Row:
    return Row(given, made, note, tests)


INTRODUCTION = """# Conversion of each field

<!-- Written by `make docs` from the tests; edit tests/support/conversion_rows.py instead. -->

A client speaks Anthropic's Messages API; the upstream speaks chat completions, either OpenRouter's or the strict form
of other servers ("strict" below). Each line shows the sent field, its conversion and the tests that prove the line.

A field that cannot be converted is refused with a message that names it, handled by the gateway itself, or noted in the
`x-gateway-ignored` header. Nothing is dropped in silence.
"""

SYSTEM = Section(
    "System",
    "Instructions keep their place, and their cache breakpoints.",
    (
        row("`system`, text or blocks", "the first message, role `system`", "one part for each block", "O2"),
        row("`system` for an upstream that wants it so", "role `developer`", "a setting of the target", "O4"),
        row(
            "Claude Code's billing header, the first block",
            "nothing",
            "noted; it would defeat the prefix cache",
            "request_messages.claude_codes_billing_header_is_dropped_and_noted",
        ),
        row(
            "a message of role `system`",
            "a system message in the same place",
            "",
            "request_messages.a_system_message_within_the_conversation_stays_in_its_place",
        ),
        row(
            "the same, where the upstream refuses it",
            "user text in the same place, after `[system message]`",
            "asked again, noted, and remembered for a day",
            "fallbacks.a_refused_system_message_in_the_middle_is_sent_as_user_text_in_its_place",
        ),
        row("its `output_config.effort`", "OpenRouter: `configuration_update`", "strict: the request's effort", "R34"),
    ),
)

MESSAGES = Section(
    "Messages and blocks",
    "",
    (
        row(
            "`model`",
            "the upstream's name of it",
            "a bare Claude id becomes OpenRouter's slug",
            "target.a_bare_claude_id_becomes_a_slug",
        ),
        row("`messages`: text", "text, or a text part", "", "O1"),
        row(
            "blank text in an earlier answer, or one without content",
            "nothing",
            "noted; other gateways hand it out, upstreams refuse it",
            "validation_turns.an_answers_blank_text_is_dropped_with_a_note",
        ),
        row("several messages of one role", "one message", "tool results first, then the rest", "O3", "O20"),
        row("`image` by URL or base64", "`image_url`; base64 as a data URI", "the bytes are the same", "O5", "O6"),
        row("`image` with a `detail`", "`image_url.detail`", "an extension", "O7"),
        row("`document`, a PDF", "a `file` part", "", "O8"),
        row("`document` of text, `search_result`", "text under its title and source", "", "O9"),
        row("`input_audio`", "`input_audio`", "an extension", "O10"),
        row("video, as `video_url`", "`video_url`", "an extension", "request_messages.a_block_becomes_parts"),
        row("`tool_use`", "`tool_calls`, its input as compact JSON", "keys keep their order", "O16", "R62"),
        row("`tool_result`", "a message of role `tool`", "`is_error` becomes a mark in the text", "O18"),
        row(
            "media in a `tool_result`", "OpenRouter: parts of the tool message", "strict: the next user message", "O19"
        ),
        row(
            "a source of type `file`",
            "400",
            "there is no file store here",
            "validation_media.files_are_refused_clearly",
        ),
        row(
            "text with `citations`",
            "text, joined with the texts beside it",
            "noted as dropped",
            "citations.cited_text_flows_together_again_behind_what_was_found",
        ),
        row(
            "blocks of Anthropic's server tools",
            "text",
            "noted as changed",
            "transcript.server_tool_block_becomes_text",
        ),
        row("`cache_control` on blocks and tools", "the same, in the same place", "strict: taken out, noted", "R21"),
        row("a last message of the assistant (prefill)", "the same", "400 for Claude 4.6 and later", "R61"),
        row(
            "`context_management`: clear tool uses, clear thinking",
            "the prompt without them",
            "done by the gateway, and reported in the answer",
            "context_editing.old_tool_results_are_cleared",
            "context_editing.old_thinking_is_cleared",
            "context_editing.the_answer_reports_what_was_cleared",
        ),
    ),
)

THINKING = Section(
    "Thinking",
    "`signature` and `data` carry the upstream's `reasoning_details` to the client and back, sealed where need be.",
    (
        row(
            "`thinking`", "`reasoning`, or `reasoning_effort`", "a budget becomes an effort where none is taken", "R11"
        ),
        row("`output_config.effort`", "Claude: `verbosity`; others: effort", "the next one that the model has", "O36"),
        row("`reasoning`, `reasoning_effort`", "joined with those of `thinking`", "contradictions are 400", "R12"),
        row("a `thinking` block of Claude's", "`reasoning.text` with its signature", "", "R14"),
        row("a `redacted_thinking` block of Claude's", "`reasoning.encrypted`", "", "R15"),
        row("Gemini's thinking", "its signature on the call it belongs to", "over many tool turns", "R16"),
        row("OpenAI's thinking", "its summary and encrypted entry", "", "R17"),
        row("other kinds of reasoning", "as they came, in their order", "", "R18"),
        row("thinking of another model", "nothing", "noted; the upstream would refuse it", "R19"),
    ),
)

TOOLS = Section(
    "Tools",
    "",
    (
        row("`tools` with a schema", "a function with the same schema", "", "O11"),
        row("a name longer than 64 characters", "a shortened one", "the answer has the client's again", "O12"),
        row("`strict`", "`strict`", "", "O13"),
        row(
            "`strict` that the upstream refuses",
            "one more try without",
            "noted; else the refusal is passed on",
            "fallbacks.o35_refused_strict_schemas_are_sent_without_strict_the_second_time",
            "fallbacks.o35_everything_else_is_refused_once",
        ),
        row("`tool_choice`", "`auto`, `required`, `none` or the function", "", "O14"),
        row("`openai.tool_choice`, as `allowed_tools`", "the same", "", "O15"),
        row(
            "`disable_parallel_tool_use`, `parallel_tool_calls`",
            "`parallel_tool_calls: false`",
            "only where there are tools; calls of an upstream that ignores it are passed on, since none may be lost",
            "O17",
        ),
        row("`type: custom` with a grammar", "the same at OpenAI", "400 elsewhere", "O24"),
        row("`openrouter:…`", "the same on OpenRouter", "400 elsewhere", "R31"),
        row("`defer_loading`", "offered from the start", "or left to OpenRouter, with `deferred_tools`", "R33"),
        row(
            "`max_tool_calls`, `stop_server_tools_when`, `deferred_tools`",
            "the same on OpenRouter",
            "",
            "request_parameters.a_chat_parameter_reaches_the_upstream_that_has_it",
        ),
        row(
            "a tool of Anthropic's that cannot be run here",
            "400, with its type",
            "",
            "validation_tools.an_unknown_tool_type_is_refused_by_name",
        ),
    ),
)

PARAMETERS = Section(
    "Parameters",
    "Chat parameters are top-level keys, or keys of an `openrouter` or `openai` object.",
    (
        row(
            "`max_tokens`, `max_completion_tokens`",
            "`max_tokens` or `max_completion_tokens`",
            "the one that the model takes",
            "O26",
        ),
        row(
            "more tokens than the model writes",
            "as many as it writes",
            "noted, where the upstream's list of models shows it",
            "model_facts.the_answers_limit_is_the_models",
        ),
        row(
            "a sampler or seed that the model does not take",
            "nothing",
            "noted, where the upstream's list of models shows it",
            "model_facts.parameters_that_the_model_does_not_take_are_left_out_and_noted",
            "R54",
        ),
        row("`temperature`, `top_p`, `top_k`", "the same", "what is absent stays absent", "O27"),
        row("`frequency_penalty`, `presence_penalty`, `logit_bias`", "the same", "", "O28"),
        row("`seed`", "the same", "", "O29"),
        row(
            "`logprobs`, `top_logprobs`",
            "the same",
            "",
            "request_parameters.a_chat_parameter_reaches_the_upstream_that_has_it",
        ),
        row("`n`", "nothing", "only 1 is accepted", "O31"),
        row(
            "`stop_sequences`, `stop`",
            "OpenRouter: `stop`, or nothing where the operator has them matched here; strict: nothing",
            "what is not sent is matched here, and so are more than the upstream takes",
            "O32",
        ),
        row("`response_format`", "the same", "", "O33"),
        row(
            "`output_config.format`, `output_format`",
            "`response_format` with a JSON schema",
            "strict; a refused strict schema is sent again without, with a note, unless the operator forbids it",
            "O34",
            "O35",
        ),
        row("`provider.require_parameters`", "the same", "on by default with a schema", "R4"),
        row("`verbosity`", "the same", "", "O37"),
        row("`prediction`", "the same", "", "O38"),
        row("`prompt_cache_key`, `prompt_cache_options`", "the same", "", "O41"),
        row(
            "`prompt_cache_retention`, `safety_identifier`",
            "the same at OpenAI",
            "noted elsewhere",
            "request_parameters.a_chat_parameter_reaches_the_upstream_that_has_it",
        ),
        row(
            "`modalities`, `audio`, `web_search_options`",
            "the same",
            "",
            "request_parameters.a_chat_parameter_reaches_the_upstream_that_has_it",
        ),
        row(
            "`image_config`, `include_reasoning`, `route`, `transforms`, `preset`",
            "the same on OpenRouter",
            "noted elsewhere",
            "request_parameters.a_chat_parameter_reaches_the_upstream_that_has_it",
        ),
        row(
            "`diagnostics`, `inference_geo`",
            "nothing",
            "noted",
            "request_parameters.a_parameter_that_cannot_be_carried_is_noted",
        ),
        row(
            "`metadata.user_id`, `user`",
            "`user`, and OpenAI's `safety_identifier`",
            "`user` wins; from 65 characters on as its SHA-256",
            "O43",
        ),
        row("other `metadata`, `store`, `moderation`", "the same", "text only; the last two at OpenAI", "O44"),
        row("`service_tier`, `speed`", "`service_tier`", "noted where there are no tiers", "O45", "R48"),
        row("`stream`", "`stream`, strict: with `include_usage`", "OpenAI: without padding", "O46", "O57"),
        row("`fallbacks`, `models`", "OpenRouter: `models`", "at most three fallbacks", "R2"),
        row("`provider`", "the same on OpenRouter", "", "R3"),
        row("an `openrouter` or `openai` object", "its parameters", "for the upstream of that kind", "R10"),
        row(
            "an `upstream` object",
            "its fields, as they are",
            "for any upstream that speaks chat completions",
            "request_parameters.fields_of_the_upstream_object_are_sent_as_they_are",
        ),
        row("`session_id`, or a header that names one", "`session_id` on OpenRouter", "", "R23"),
        row("`trace`", "the same on OpenRouter", "", "R24"),
        row("`min_p`, `top_a`, `repetition_penalty`", "the same on OpenRouter", "", "R25"),
        row(
            "nothing about compression, to a model of 8k tokens",
            "`context-compression`, off",
            "an overflow is said, not hidden",
            "R28",
        ),
        row("`plugins`", "the same on OpenRouter", "", "R26"),
        row(
            "`container`, `mcp_servers`, `compaction` …; `thread` where [threads](threads.md) are off",
            "400",
            "they would change what the rest means",
            "validation.a_field_that_changes_what_the_rest_means_is_refused_by_name",
            "validation.a_thread_is_refused_with_the_code_on_which_sdks_send_the_whole_conversation",
        ),
        row(
            "an unknown field",
            "nothing",
            "noted, also within blocks, messages, tools and settings: one note for all of a sort",
            "validation.unknown_fields_are_dropped_with_a_note_each",
            "validation_unknown.an_unknown_key_is_noted_where_it_is",
            "validation_unknown.any_added_field_is_carried_noted_or_refused",
        ),
    ),
)

ANSWERS = Section(
    "Answers",
    "",
    (
        row("text", "a `text` block", "", "golden/text"),
        row(
            "white space before, between and after thinking and calls",
            "nothing",
            "a block of white space could not be given back",
            "golden/blank_text_around_calls",
            "blank_text.white_space_makes_no_separate_block",
        ),
        row(
            "any of the answers below",
            "content that the next request may give back",
            "",
            "round_trip.every_message_is_accepted_when_it_comes_back",
        ),
        row("`reasoning`, `reasoning_content`", "a `thinking` block before the text", "", "golden/reasoning_content"),
        row(
            "reasoning as an object, a list, parts of the content, `thinking_blocks`, or behind a `<think>`",
            "the same",
            "",
            "odd_shapes.reasoning_is_read_in_any_form",
            "odd_shapes.a_tag_at_the_start_of_the_reasoning_is_taken_off",
        ),
        row(
            "a signature, however late",
            "the block's `signature`",
            "",
            "golden/thinking_signed",
            "golden/signature_late",
        ),
        row("encrypted reasoning", "`redacted_thinking`, or an envelope", "", "golden/reasoning_encrypted"),
        row("tool calls", "`tool_use` blocks", "one after the other, whole", "golden/tools_interleaved"),
        row(
            "calls that the server left in text or reasoning, in the model's markup, at the end of the answer",
            "the same",
            "noted; in code, in front of other text, or of other tools, it stays text",
            "written_calls.calls_written_as_text_are_calls",
            "written_calls.calls_at_the_end_of_the_reasoning_are_calls",
            "written_calls.any_other_text_stays_text",
        ),
        row(
            "a refusal that quotes the model's call (`failed_generation`)",
            "the call",
            "noted; where no call can be read the upstream is asked once more",
            "refused_output.call_that_a_refusal_quotes_is_the_answer",
            "refused_output.quotation_that_is_no_call_is_asked_for_once_more",
        ),
        row(
            "calls in any shape",
            "the same",
            "ids are unique",
            "golden/id_missing",
            "golden/index_missing",
            "assembly.calls_are_read_despite",
        ),
        row(
            "an id that clients may not have, or that the conversation has already",
            "an id with the upstream's in it",
            "the upstream gets its own back, Claude the client's",
            "call_ids.ids_are_unique_over_a_conversation_and_the_upstreams_own_upstream",
            "call_ids.claude_gets_the_clients_ids_which_are_legal_and_unique",
        ),
        row(
            "a tool's name with marks around it, or of illegal characters",
            "the name without them",
            "noted",
            "call_ids.the_tool_that_a_name_means",
        ),
        row(
            "arguments that are nearly JSON: raw line ends, backslashes, commas and brackets too many, Python's quotes",
            "JSON, the same in a stream",
            "noted",
            "near_json.near_json_with_one_meaning_is_repaired_and_noted",
            "near_json.a_json_answer_is_repaired_likewise",
        ),
        row(
            "arguments that are no JSON otherwise",
            "an error",
            "not asked for again",
            "near_json.ambiguous_near_json_is_an_error_that_is_not_paid_for_again",
        ),
        row(
            "`annotations` of the web",
            "a search with its results, and citations of the text",
            "in a stream that cites late, of its last text as a whole",
            "golden/citations_before_text",
            "golden/citations_after_text",
            "citations.a_text_is_cut",
        ),
        row("`annotations` of files", "a `redacted_thinking` block", "given back to OpenRouter", "R27"),
        row(
            "`audio`",
            "its transcript, as text",
            "the sound itself is noted: a message has no place for it",
            "assembly.transcript_of_a_sound_is_text",
        ),
        row(
            "`images`, if `modalities` asked for them",
            "`image` blocks, as a request has them",
            "an extension; they can be given back",
            "R58",
            "images.an_image_can_be_given_back_as_it_came",
        ),
        row(
            "`images` otherwise",
            "a text that says how to get them",
            "noted",
            "images.a_client_that_did_not_ask_for_images_is_notified_once",
        ),
        row(
            "images that no request could hold; parts of other kinds",
            "nothing",
            "noted",
            "images.an_image_that_no_request_could_hold_is_noted_once",
            "assembly.content_without_a_place_in_messages_is_noted_once",
        ),
        row(
            "`system_fingerprint`, if a `seed` was sent",
            "the same, of the message or of `message_delta`",
            "an extension",
            "stop_reason.o29_who_sends_a_seed_learns_which_system_answered",
        ),
        row("`logprobs`", "`logprobs` of the message, or of `message_delta`", "an extension", "O30"),
        row("no content", "an empty message", "", "response.an_empty_answer_is_a_message_without_content"),
    ),
    is_answer=True,
)

STOPS = Section(
    "Stop reasons",
    "",
    (
        row(
            "`finish_reason`, `native_finish_reason`",
            "`stop_reason`",
            "whole calls are always `tool_use`",
            "stop_reason.the_stop_reason_of_a_json_answer",
            "stop_reason.the_stop_reason_of_a_stream",
        ),
        row(
            "a call that the token limit, a stop sequence or an unknown cause has cut",
            "`max_tokens` or `stop_sequence`; its last argument is null",
            "noted; a call that lacks closing brackets only is completed",
            "golden/arguments_cut_at_length",
            "cut_calls.wherever_a_call_is_cut_its_last_argument_is_null",
            "cut_calls.a_call_that_lacks_closing_brackets_only_is_whole",
        ),
        row(
            "`length` with fewer tokens than were asked for, where prompt and answer fill the context",
            "`model_context_window_exceeded`",
            "a higher `max_tokens` could not help",
            "odd_shapes.an_answer_that_fills_the_context_is_not_said_to_have_reached_its_limit",
        ),
        row(
            "OpenAI's 400 for a limit that was reached before any text",
            "a message without content, `max_tokens`",
            "",
            "dialect.a_limit_reached_before_any_text_is_an_answer",
        ),
        row("any word for a refusal", "`refusal`", "", "stop_reason.every_word_for_a_refusal_from_either_place"),
        row(
            "a stop sequence in the text",
            "`stop_sequence`, with the sequence",
            "",
            "stop_sequences.a_text_cut_anywhere",
        ),
        row(
            "which of several sequences stopped it, where the upstream names it",
            "`stop_sequence`",
            "else null, unless one was sent or the gateway matched it, as it does for strict upstreams",
            "stop_reason.a_sequence_that_the_upstream_names_is_reported",
            "stop_reason.a_call_in_which_the_upstream_found_a_sequence_is_not_to_be_run",
            "stop_reason.an_upstreams_stop_sequence_is_named_only_where_it_must_be_the_one",
        ),
        row(
            "what would follow a sequence matched by the gateway",
            "nothing; the upstream is left",
            "of a stream the usage is then an estimate, the cost unknown; a JSON answer is paid to its end",
            "stop_sequences.once_the_sequence_is_found_the_upstream_may_go",
            "local_stops.the_end_of_the_upstreams_answer_after_the_sequence_is_ignored",
            "stop_sequences.usage_of_a_left_stream_is_an_estimate",
        ),
        row("`finish_reason: error`", "an error", "", "stop_reason.a_finish_of_a_failure_is_an_error"),
    ),
    is_answer=True,
)

USAGE = Section(
    "Usage",
    "",
    (
        row("`usage`", "`usage`: input without what was cached", "", "usage.usage_of", "usage.the_parts_add_up"),
        row(
            "`cache_write_tokens`",
            "`cache_creation`, by the TTL asked for",
            "",
            "usage.written_tokens_belong_to_the_ttl_that_was_asked_for",
        ),
        row("`service_tier`", "`usage.service_tier`", "`default` is `standard`; others as they are", "O45"),
        row("no usage", "an estimate", "recorded as an estimate", "usage.a_stream_without_a_count_says_an_estimate"),
        row("`cost`", "a header, or a field of `message_delta`", "US dollars", "usage.cost_in_dollars"),
    ),
    is_answer=True,
)

ERRORS = Section(
    "Errors",
    "",
    (
        row("an error status", "Anthropic's error of that kind", "", "client_error.each_status_has_its_error"),
        row(
            "an error inside a 200",
            "an error",
            "never an empty message",
            "response.an_error_inside_a_success_is_raised",
            "golden/error_first",
        ),
        row(
            "a context overflow",
            "`prompt is too long: …`",
            "clients compact on these words",
            "client_error.an_overflow_is_worded_so_that_clients_compact",
        ),
        row("`retry-after`", "`retry-after`", "", "client_error.retry_after"),
        row("secrets, private addresses, file paths", "`[removed]`", "", "redaction.private_text_is_removed"),
    ),
    is_answer=True,
)

STREAMS = Section(
    "Streams",
    "",
    (
        row(
            "a stream, however the network cuts it",
            "the same events",
            "",
            "stream_cuts.a_stream_cut_in_two_anywhere_gives_the_same_bytes",
        ),
        row(
            "the same answer as JSON",
            "the message of the stream",
            "",
            "stream_golden.the_json_answer_equals_the_folded_stream",
        ),
        row("comments, CRLF, several `data` lines", "read", "", "golden/comments", "golden/data_on_several_lines"),
        row("an error within the stream", "an `error` event", "no `message_stop`", "golden/error_mid_stream"),
        row(
            "a failure in any other form: an event named `error`, `detail`, `message`, a business code, broken JSON",
            "an error",
            "its kind is read from its code or its words",
            "embedded_errors.a_failure_in_place_of_an_answer_is_an_error",
            "embedded_errors.a_failure_in_the_middle_of_an_answer_ends_it_as_an_error",
            "embedded_errors.event_named_error_is_an_error_with_any_data",
            "embedded_errors.failure_written_as_broken_json_is_an_error",
        ),
        row(
            "JSON for a stream, a stream for JSON, under any label; chunks as lines; gzip",
            "the answer",
            "",
            "odd_shapes.json_for_a_stream_request_becomes_a_stream",
            "odd_shapes.chunks_as_bare_lines_are_a_stream",
            "dialect.event_stream_labelled_as_json_is_read_as_a_stream",
        ),
        row(
            "further choices; `function_call` beside `tool_calls`; signs of life between chunks",
            "nothing",
            "",
            "odd_shapes.only_the_first_choice_is_read",
            "odd_shapes.a_call_in_both_forms_is_one_call",
            "odd_shapes.noise_between_chunks_is_skipped",
        ),
        row(
            "a stream without a choice",
            "an error",
            "worth another attempt",
            "embedded_errors.a_stream_without_content_and_reason_is_no_answer",
        ),
        row("an end without a reason", "an `error` event", "never a silent end", "golden/cut_stream"),
        row("usage after the finish", "one `message_delta`", "", "golden/usage_on_empty_choices"),
    ),
    is_answer=True,
)

SECTIONS = (SYSTEM, MESSAGES, THINKING, TOOLS, PARAMETERS, ANSWERS, STOPS, USAGE, ERRORS, STREAMS)
