// Calls of the server, with the key where one is wanted, and its errors as errors.

import { byId } from "./dom.js";

const KEY = "windowtax.key";

export class ServerError extends Error {
  constructor(message, details) {
    super(message);
    this.details = details;
  }
}

// A call; asks for the key and goes on where the server wants one. body: an object goes as JSON, all else as it is.
export async function call(path, { body, signal } = {}) {
  for (;;) {
    const reply = await sent(path, body, signal);
    if (reply.ok) return reply;
    if (reply.status !== 401) throw await failure(reply);
    await askKey();
  }
}

export const json = async (path, options) => (await call(path, options)).json();

async function sent(path, body, signal) {
  const headers = {}, key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  const plain = body?.constructor === Object;
  if (plain) headers["Content-Type"] = "application/json";
  try {
    const method = body === undefined ? "GET" : "POST";
    return await fetch(path, { method, headers, signal, body: plain ? JSON.stringify(body) : body });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is it still running?");
  }
}

async function failure(reply) {
  try {
    return errorOf((await reply.json()).error);
  } catch {
    return new ServerError(`The server answered with status ${reply.status}.`);
  }
}

export const errorOf = (error) => new ServerError(error.message, error.windowtax);

let asking = null;

function askKey() {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog"), input = byId("key");
    input.value = "";
    // Closing without a key would only bring the same question again.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, input.value);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

// The JSON of each event of a stream, until [DONE]. Raises what the server sends as its last words.
export async function* events(path, body, signal) {
  const reply = await call(path, { body, signal });
  let rest = "", whole = false;
  for await (const text of chunks(reply.body)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue; // comments keep the connection alive
      const data = line.slice(6);
      if (data === "[DONE]") {
        whole = true; // the connection is read to its end, so that the server sees no client leave
        continue;
      }
      const event = JSON.parse(data);
      if (event.error) throw errorOf(event.error);
      yield event;
    }
  }
  if (!whole) throw new ServerError("The connection broke before the answer was finished.");
}

async function* chunks(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
