// What OpenAI's client for Node makes of our answers: `node node_calls.mjs FOLDER BASE_URL`, as JSON.
import { createRequire } from "node:module";

const [folder, baseURL] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 30_000 });
const chat = { model: "tiny", messages: [{ role: "user", content: "abcd" }], temperature: 0, max_tokens: 8 };
const told = {};

const whole = await client.chat.completions.create(chat);
told.whole = { text: whole.choices[0].message.content, tokens: whole.usage.completion_tokens };

const stream = await client.chat.completions.create({
  ...chat, stream: true, stream_options: { include_usage: true },
});
told.streamed = { text: "", tokens: 0 };
for await (const chunk of stream) {
  told.streamed.text += chunk.choices[0]?.delta?.content ?? "";
  told.streamed.tokens = chunk.usage?.completion_tokens ?? told.streamed.tokens;
}

const gathered = client.chat.completions.stream(chat);
told.gathered = (await gathered.finalChatCompletion()).choices[0].message.content;

const schema = { name: "day", strict: true, schema: { enum: ["Monday", "Sunday"] } };
const parsed = await client.chat.completions.parse({
  ...chat, max_tokens: 40, response_format: { type: "json_schema", json_schema: schema },
});
told.parsed = parsed.choices[0].message.content;

const drawn = { ...chat, temperature: 1, seed: 5, n: 2 };
const [first, second] = [await client.chat.completions.create(drawn), await client.chat.completions.create(drawn)];
told.several = [first, second].map((one) => one.choices.map((choice) => choice.message.content));

const sure = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 2 });
told.logprobs = sure.choices[0].logprobs.content.map((one) => [one.token, one.logprob, one.top_logprobs.length]);

const stopped = await client.chat.completions.create({ ...chat, stop: [told.whole.text[2]] });
told.stopped = [stopped.choices[0].message.content, stopped.choices[0].finish_reason];

const legacy = await client.completions.create({ model: "tiny", prompt: ["abcd", "ab"], temperature: 0, max_tokens: 4 });
told.completions = legacy.choices.map((choice) => choice.index);

const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "warmth", parameters } }];
const asking = { model: "caller", messages: chat.messages, tools };
const calls = [
  await client.chat.completions.create(asking),
  await client.chat.completions.stream(asking).finalChatCompletion(),
];
told.tools = calls.map((one) => one.choices[0].message.tool_calls.map(
  (call) => [call.id, call.function.name, JSON.parse(call.function.arguments)],
));

const vectors = await client.embeddings.create({ model: "vectors", input: ["red", "blue"] });
told.embeddings = vectors.data.map((one) => one.embedding.length);
told.models = (await client.models.list()).data.map((model) => model.id);
told.model = (await client.models.retrieve("tiny")).id;

told.errors = {};
const refused = async (name, call) => {
  try {
    await call();
  } catch (error) {
    told.errors[name] = [[error.constructor.name], error.status, error.param ?? null, error.code ?? null];
  }
};
await refused("bound", () => client.chat.completions.create({ ...chat, temperature: 3 }));
await refused("unknown", () => client.chat.completions.create({ ...chat, model: "nobody" }));
const wrong = new OpenAI({ baseURL, apiKey: process.env.WRONG_KEY, maxRetries: 0 });
await refused("key", () => wrong.chat.completions.create(chat));
const leaving = await client.chat.completions.create({ ...chat, stream: true });
leaving.controller.abort();
console.log(JSON.stringify(told));
