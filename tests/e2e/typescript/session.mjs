// One session of the official TypeScript SDK. Its findings go to standard output as JSON.
// node session.mjs SDK_FOLDER BASE_URL KEY
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, baseURL, apiKey] = process.argv.slice(2);
const sdk = createRequire(`${folder}/`).resolve("@anthropic-ai/sdk");
const { default: Anthropic } = await import(pathToFileURL(sdk.replace(/\.js$/, ".mjs")));

const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const ask = { model: "sim/echo", max_tokens: 200, messages: [{ role: "user", content: "Good morning" }] };
const tools = [{ name: "look_up", description: "Look it up", input_schema: { type: "object", properties: { word: { type: "string" } }, required: ["word"] } }];
const found = {};

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return { name: error.constructor.name, status: error.status, type: error.error?.error?.type, message: error.error?.error?.message, hasId: /^req_/.test(error.requestID ?? "") };
  }
}

async function messages() {
  const message = await client.messages.create(ask);
  found.message = { type: message.type, text: message.content[0].text, stop: message.stop_reason, hasId: /^req_/.test(message._request_id) };
}

async function stream() {
  const stream = client.messages.stream(ask);
  let text = "";
  stream.on("text", (piece) => { text += piece; });
  const final = await stream.finalMessage();
  found.stream = { text, final: final.content[0].text, output: final.usage.output_tokens > 0 };
}

async function toolLoop() {
  const model = "sim/tool";
  const first = await client.messages.create({ ...ask, model, tools });
  const call = first.content.find((block) => block.type === "tool_use");
  const turns = [...ask.messages, { role: "assistant", content: first.content }];
  const results = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "a fruit" }] };
  const last = await client.messages.create({ ...ask, model, tools, messages: [...turns, results] });
  found.tools = { name: call.name, word: typeof call.input.word, stop: first.stop_reason, last: last.stop_reason, text: last.content[0].text };
}

async function batches() {
  const requests = ["a", "b"].map((custom_id) => ({ custom_id, params: ask }));
  const created = await client.messages.batches.create({ requests });
  const listed = [];
  for await (const batch of client.messages.batches.list()) listed.push(batch.id);
  const ended = await client.messages.batches.cancel(created.id);
  const results = [];
  for await (const line of await client.messages.batches.results(created.id)) results.push([line.custom_id, line.result.type]);
  const deleted = await client.messages.batches.delete(created.id);
  found.batches = { created: created.processing_status, listed: listed.includes(created.id), ended: ended.processing_status, results, deleted: deleted.type };
}

async function models() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  found.models = { some: ids.length > 0, same: (await client.models.retrieve(ids[0])).id === ids[0] };
}

async function countTokens() {
  found.count = (await client.messages.countTokens({ model: ask.model, messages: ask.messages })).input_tokens;
}

async function errors() {
  const { max_tokens, ...incomplete } = ask;
  const stranger = new Anthropic({ baseURL, apiKey: "another-key", maxRetries: 0 });
  found.errors = {
    invalid: await failure(() => client.messages.create(incomplete)),
    key: await failure(() => stranger.messages.create(ask)),
    batch: await failure(() => client.messages.batches.retrieve("msgbatch_none")),
    files: await failure(() => client.beta.files.list()),
    skills: await failure(() => client.beta.skills.list()),
  };
}

for (const step of [messages, stream, toolLoop, batches, models, countTokens, errors]) await step();
console.log(JSON.stringify(found));
