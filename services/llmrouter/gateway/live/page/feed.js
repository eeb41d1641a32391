// The stream of frames, read by fetch: an EventSource could show no key.

const KEY = "llmrouter.key";

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export class Refused extends Error {
  constructor(status, message, wait) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

/** Ask the gateway; what it refuses is raised as Refused. */
export async function ask(path, signal) {
  const held = key.get();
  const headers = held ? { authorization: `Bearer ${held}` } : {};
  const answer = await fetch(path, { headers, signal, cache: "no-store" });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const told = body.error?.message ?? `the gateway answered with status ${answer.status}`;
  throw new Refused(answer.status, told, Number(answer.headers.get("retry-after")) || 0);
}

/** Give frames as they come, until the stream ends, fails or is silent for too long. */
export async function* frames(signal) {
  const silence = new AbortController();
  const any = AbortSignal.any([signal, silence.signal]);
  let timer;
  const heard = (seconds) => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Error("the gateway is silent")), seconds * 1000);
  };
  try {
    heard(15);
    const answer = await ask("live/events", any);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let kept = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      kept += value;
      for (let end = kept.indexOf("\n\n"); end >= 0; end = kept.indexOf("\n\n")) {
        const frame = JSON.parse(kept.slice("data: ".length, end));
        kept = kept.slice(end + 2);
        if (frame.error) throw new Refused(401, frame.error.message, 0);
        heard(frame.every * 3 + 10);
        yield frame;
      }
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}
