// The official npm SDK as a whole program: BASE_URL KEY ROLES NODE_MODULES. See anthropic_sdk.py, which has the same checks.
import assert from 'node:assert';

const [baseURL, apiKey, given, modules] = process.argv.slice(2);
const roles = JSON.parse(given);
const { default: Anthropic } = await import(modules + '/@anthropic-ai/sdk/index.mjs');
const { betaZodTool } = await import(modules + '/@anthropic-ai/sdk/helpers/beta/zod.mjs');
const { betaTool } = await import(modules + '/@anthropic-ai/sdk/helpers/beta/json-schema.mjs');
const { zodOutputFormat } = await import(modules + '/@anthropic-ai/sdk/helpers/zod.mjs');
const { z } = await import(modules + '/zod/index.js');

const PATIENCE = 60000;
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0, timeout: PATIENCE });
const thinking = { type: 'enabled', budget_tokens: 1024 };
const weather = {
  name: 'get_weather',
  description: 'The weather in a city',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const checks = [];
const check = (needed, name, run) => checks.push({ needed, name, run });
const asked = (role, fields) => ({
  model: roles[role][0], max_tokens: 800, messages: [{ role: 'user', content: roles[role][1] }], ...fields,
});
const textOf = (message) => message.content.filter((block) => block.type === 'text').map((block) => block.text).join('');
const callsOf = (message) => message.content.filter((block) => block.type === 'tool_use');
const withResults = (request, message) => {
  const results = callsOf(message).map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: 'It is warm.' }));
  const turns = [{ role: 'assistant', content: message.content }, { role: 'user', content: results }];
  return { ...request, messages: [...request.messages, ...turns] };
};
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function refused(promise, status, kind) {
  const error = await promise.then(() => assert.fail(`no error ${status}`), (reason) => reason);
  assert.deepEqual([error.status, error.error?.error?.type], [status, kind], String(error));
  assert(error.requestID, 'no request id');
  return error;
}

check(['text'], 'create', async () => {
  const message = await client.messages.create(asked('text'));
  assert.equal(message.stop_reason, 'end_turn');
  assert(textOf(message) && message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
  assert(message._request_id.startsWith('req_'));
});

check(['text'], 'create_streamed', async () => {
  const kinds = [];
  for await (const event of await client.messages.create(asked('text', { stream: true }))) kinds.push(event.type);
  assert.deepEqual([kinds[0], kinds.at(-1)], ['message_start', 'message_stop']);
});

check(['text'], 'stream_helper_of_text', async () => {
  const pieces = [];
  const stream = client.messages.stream(asked('text')).on('text', (piece) => pieces.push(piece));
  const message = await stream.finalMessage();
  assert.equal(pieces.join(''), textOf(message));
  assert(pieces.join('') && stream.request_id.startsWith('req_'));
  assert.equal(await client.messages.stream(asked('text')).finalText(), textOf(message));
});

check(['tool'], 'stream_helper_of_events', async () => {
  const inputs = [];
  const blocks = [];
  const stream = client.messages.stream(asked('tool', { tools: [weather] }));
  stream.on('inputJson', (_, snapshot) => inputs.push(snapshot)).on('contentBlock', (block) => blocks.push(block));
  const message = await stream.finalMessage();
  assert.deepEqual(inputs.at(-1), callsOf(message)[0].input);
  assert.equal(blocks.length, message.content.length);
});

check(['text'], 'early_end_of_a_stream', async () => {
  for await (const event of client.messages.stream(asked('text'))) if (event.type === 'content_block_delta') break;
  const stream = client.messages.stream(asked('text'));
  stream.on('text', () => stream.abort());
  await assert.rejects(stream.done());
  assert(textOf(await client.messages.create(asked('text'))));
});

check(['text'], 'raw_responses', async () => {
  const { data, response, request_id } = await client.messages.create(asked('text')).withResponse();
  assert(response.headers.get('request-id') === request_id && textOf(data));
  const raw = await client.messages.create(asked('text')).asResponse();
  assert.equal((await raw.json()).type, 'message');
  const readable = (await client.messages.create(asked('text', { stream: true }))).toReadableStream();
  assert((await new Response(readable).text()).includes('message_stop'));
});

check(['tool'], 'tool_loop', async () => {
  const request = asked('tool', { tools: [weather] });
  const message = await client.messages.create(request);
  assert.equal(message.stop_reason, 'tool_use');
  assert.equal(typeof callsOf(message)[0].input.city, 'string');
  const answer = await client.messages.create(withResults(request, message));
  assert(answer.stop_reason === 'end_turn' && textOf(answer));
});

check(['two'], 'parallel_calls', async () => {
  const [first, second] = callsOf(await client.messages.stream(asked('two', { tools: [weather] })).finalMessage());
  assert.notEqual(first.id, second.id);
  assert.equal(typeof second.input, 'object');
});

check(['tool'], 'tool_choices', async () => {
  for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'get_weather' }]) {
    assert(callsOf(await client.messages.create(asked('tool', { tools: [weather], tool_choice }))).length);
  }
});

check(['text'], 'no_tool_is_called_where_none_may_be', async () => {
  const message = await client.messages.create(asked('text', { tools: [weather], tool_choice: { type: 'none' } }));
  assert.deepEqual([callsOf(message).length, message.stop_reason], [0, 'end_turn']);
});

check(['thinking'], 'thinking_and_its_return', async () => {
  const request = asked('thinking', { thinking, max_tokens: 3000 });
  let signature = '';
  const stream = client.messages.stream(request).on('signature', (whole) => (signature = whole));
  const message = await stream.finalMessage();
  assert.equal(message.content[0].type, 'thinking');
  assert(signature && message.content[0].signature === signature);
  const turns = [{ role: 'assistant', content: message.content }, { role: 'user', content: 'Go on' }];
  assert((await client.messages.create({ ...request, messages: [...request.messages, ...turns] })).content.length);
});

check(['thinking_tool'], 'thinking_before_a_call_and_its_return', async () => {
  const request = asked('thinking_tool', { thinking, tools: [weather], max_tokens: 3000 });
  const message = await client.messages.create(request);
  assert.deepEqual([message.content[0].type, message.stop_reason], ['thinking', 'tool_use']);
  assert.equal((await client.messages.create(withResults(request, message))).stop_reason, 'end_turn');
});

check(['text'], 'thinking_off_adaptive_and_effort', async () => {
  const all = [{ thinking: { type: 'disabled' } }, { thinking: { type: 'adaptive' }, max_tokens: 3000 }, { output_config: { effort: 'low' } }];
  for (const fields of all) assert((await client.messages.create(asked('text', fields))).content.length);
});

check(['schema'], 'parsed_output', async () => {
  const format = zodOutputFormat(z.object({ city: z.string() }));
  const parsed = await client.messages.parse(asked('schema', { output_config: { format } }));
  assert.equal(typeof parsed.parsed_output.city, 'string');
  const streamed = await client.messages.stream(asked('schema', { output_config: { format } })).finalMessage();
  assert.equal(typeof streamed.parsed_output.city, 'string');
});

check(['tool'], 'tool_runner', async () => {
  const cities = [];
  const run = ({ city }) => (cities.push(city), 'warm');
  const zodTool = betaZodTool({ name: 'get_weather', description: 'w', inputSchema: z.object({ city: z.string() }), run });
  const jsonTool = betaTool({ name: 'get_weather', description: 'w', inputSchema: weather.input_schema, run });
  for (const tool of [zodTool, jsonTool]) {
    const message = await client.beta.messages.toolRunner({ ...asked('tool'), tools: [tool], max_iterations: 3 });
    assert.equal(message.stop_reason, 'end_turn');
  }
  assert.equal(cities.length, 2);
});

check(['tool'], 'tool_runner_streamed', async () => {
  let calls = 0;
  const run = () => { calls += 1; throw new Error('no weather'); };
  const tool = betaTool({ name: 'get_weather', description: 'w', inputSchema: weather.input_schema, run });
  let message;
  for await (const stream of client.beta.messages.toolRunner({ ...asked('tool'), tools: [tool], max_iterations: 3, stream: true })) {
    message = await stream.finalMessage();
  }
  assert.deepEqual([calls, message.stop_reason], [1, 'end_turn']);
});

check(['text'], 'beta_namespace', async () => {
  assert(textOf(await client.beta.messages.create(asked('text', { betas: ['interleaved-thinking-2025-05-14'] }))));
  const context_management = { edits: [{ type: 'clear_tool_uses_20250919' }] };
  const stream = client.beta.messages.stream(asked('text', { betas: ['context-management-2025-06-27'], context_management }));
  assert(textOf(await stream.finalMessage()));
  const { model, messages } = asked('text');
  assert((await client.beta.messages.countTokens({ model, messages, betas: ['token-counting-2024-11-01'] })).input_tokens > 0);
  assert((await client.beta.models.list()).data.length);
});

check(['text'], 'count_tokens', async () => {
  const { model, messages } = asked('text');
  const alone = await client.messages.countTokens({ model, messages });
  const withTools = await client.messages.countTokens({ model, messages, system: 'Be brief.', tools: [weather] });
  assert(alone.input_tokens > 0 && alone.input_tokens < withTools.input_tokens);
});

check(['text'], 'models', async () => {
  const names = [];
  for await (const model of client.models.list({ limit: 3 })) names.push(model.id);
  assert(names.length && new Set(names).size === names.length);
  assert.equal((await client.models.retrieve(names.at(-1))).id, names.at(-1));
  await refused(client.models.retrieve('no-such-model'), 404, 'not_found_error');
});

async function ended(id, batches) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await pause(200)) {
    const batch = await batches.retrieve(id);
    if (batch.processing_status === 'ended') return batch;
  }
  assert.fail('the batch does not end');
}

async function resultsOf(id, batches) {
  const results = {};
  for await (const { custom_id, result } of await batches.results(id)) results[custom_id] = result;
  return results;
}

check(['text', 'tool'], 'batches', async () => {
  const { batches } = client.messages;
  const items = { text: asked('text'), tool: asked('tool', { tools: [weather] }), wrong: asked('text', { temperature: 5 }) };
  const begun = await batches.create({ requests: Object.entries(items).map(([custom_id, params]) => ({ custom_id, params })) });
  const batch = await ended(begun.id, batches);
  assert.deepEqual([batch.request_counts.succeeded, batch.request_counts.errored], [2, 1]);
  const results = await resultsOf(batch.id, batches);
  assert(textOf(results.text.message) && results.tool.message.stop_reason === 'tool_use');
  assert.equal(results.wrong.error.error.type, 'invalid_request_error');
  const listed = [];
  for await (const each of batches.list({ limit: 20 })) listed.push(each.id);
  assert(listed.includes(batch.id));
  assert.equal((await batches.delete(batch.id)).type, 'message_batch_deleted');
  await refused(batches.retrieve(batch.id), 404, 'not_found_error');
});

check(['refusal', 'overflow', 'length'], 'batches_with_odd_answers', async () => {
  const { batches } = client.beta.messages;
  const requests = ['refusal', 'overflow', 'length'].map((role) => ({ custom_id: role, params: asked(role) }));
  const { id } = await batches.create({ requests });
  await ended(id, batches);
  const results = await resultsOf(id, batches);
  assert.equal(results.refusal.message.stop_reason, 'refusal');
  assert.equal(results.length.message.stop_reason, 'max_tokens');
  assert(results.overflow.error.error.message.includes('prompt is too long'));
});

check(['slow'], 'batches_are_canceled', async () => {
  const { batches } = client.messages;
  const requests = Array.from({ length: 300 }, (_, number) => ({ custom_id: String(number), params: asked('slow') }));
  const { id } = await batches.create({ requests });
  assert(['canceling', 'ended'].includes((await batches.cancel(id)).processing_status));
  await ended(id, batches);
  assert(Object.values(await resultsOf(id, batches)).some((result) => result.type === 'canceled'));
});

check(['text'], 'wrong_requests', async () => {
  const wrong = { max_tokens: -1, messages: [], temperature: 3, tools: [{ name: 'bad name', input_schema: { type: 'object' } }], system: 5 };
  for (const [word, value] of Object.entries(wrong)) {
    const error = await refused(client.messages.create(asked('text', { [word]: value })), 400, 'invalid_request_error');
    assert(String(error).includes(word), String(error));
  }
});

check(['text'], 'wrong_keys_and_paths', async () => {
  await refused(client.withOptions({ apiKey: 'wrong' }).messages.create(asked('text')), 401, 'authentication_error');
  const bearer = new Anthropic({ baseURL, apiKey: null, authToken: apiKey });
  assert(textOf(await bearer.messages.create(asked('text'))));
  await refused(client.beta.files.list(), 404, 'not_found_error');
  await refused(client.beta.skills.list(), 404, 'not_found_error');
});

check(['limited'], 'retries', async () => {
  const begun = Date.now();
  await refused(client.messages.create(asked('limited'), { maxRetries: 1 }), 429, 'rate_limit_error');
  assert(Date.now() - begun > 400, 'it did not wait');
});

check(['broken'], 'error_within_a_stream', async () => {
  const error = await client.messages.stream(asked('broken')).finalMessage().then(() => assert.fail('no error'), (reason) => reason);
  assert(['api_error', 'overloaded_error'].includes(error.error?.error?.type), String(error));
});

check(['silent'], 'timeouts', async () => {
  await assert.rejects(client.messages.create(asked('silent'), { timeout: 700 }), Anthropic.APIConnectionTimeoutError);
});

check(['overflow'], 'long_prompts', async () => {
  const error = await refused(client.messages.create(asked('overflow')), 400, 'invalid_request_error');
  assert(String(error).includes('prompt is too long'), String(error));
});

check(['refusal'], 'refusals', async () => {
  assert.equal((await client.messages.stream(asked('refusal')).finalMessage()).stop_reason, 'refusal');
});

check(['length'], 'length_limit', async () => {
  assert.equal((await client.messages.create(asked('length', { max_tokens: 5 }))).stop_reason, 'max_tokens');
});

check(['stop'], 'stop_sequences', async () => {
  const message = await client.messages.create(asked('stop', { stop_sequences: roles.stop_sequences }));
  assert.deepEqual([message.stop_reason, message.stop_sequence], ['stop_sequence', roles.stop_sequences[0]]);
});

check(['text'], 'many_at_once', async () => {
  const messages = await Promise.all(Array.from({ length: 8 }, () => client.messages.create(asked('text'))));
  assert.equal(new Set(messages.map(({ id }) => id)).size, 8);
});

const counts = { passed: 0, failed: 0, skipped: 0 };
for (const { needed, name, run } of checks) {
  if (roles.known?.includes(name) || !needed.every((role) => role in roles)) {
    counts.skipped += 1;
    continue;
  }
  try {
    await run();
    counts.passed += 1;
  } catch (error) {
    counts.failed += 1;
    console.log(`FAIL ${name}: ${String(error?.message ?? error).slice(0, 400).replaceAll('\n', ' ')}`);
  }
}
console.log(Object.entries(counts).map(([word, count]) => `${count} ${word}`).join(', '));
process.exit(counts.failed ? 1 : 0);
