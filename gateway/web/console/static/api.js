// Calls to the gateway. The session is a cookie that scripts cannot read.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      headers: method === "GET" ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refused(0, "The gateway does not answer.");
  }
  const text = await response.text();
  let value = null;
  try { value = JSON.parse(text); } catch { /* a proxy's page */ }
  if (!response.ok) throw new Refused(response.status, value?.error?.message ?? `The gateway answered ${response.status}.`);
  return value;
}

export const get = (path) => call("GET", path);

/** The filters in the address, which the list and the live events share. */
export const filters = () => new URLSearchParams(location.search);

export function withFilters(path, more = {}) {
  const query = filters();
  for (const [name, value] of Object.entries(more)) query.set(name, value);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export function setFilter(name, value) {
  const query = filters();
  if (value) query.set(name, value); else query.delete(name);
  location.search = query.toString();
}
