// larder's HTTP interface: every request carries the admin token, which lives in this tab's session storage and nowhere else.

const PLACE = 'larder-admin-token';
const TIMEOUT_MS = 5000;
const base = new URL('../', document.baseURI);

export const token = () => sessionStorage.getItem(PLACE);
export const keepToken = (value) => sessionStorage.setItem(PLACE, value);
export const dropToken = () => sessionStorage.removeItem(PLACE);

// What went wrong, in words for a person. STATUS 0: nobody answered.
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function refusal(answer) {
  let detail = `The server answered ${answer.status} ${answer.statusText}.`;
  try {
    detail = (await answer.json()).detail ?? detail;
  } catch {
    // Not larder's own words; the status has to do.
  }
  return new Problem(answer.status, detail);
}

async function ask(method, path, body) {
  const headers = {Authorization: `Bearer ${token() ?? ''}`};
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let request, answer;
  try {
    request = new Request(new URL(path, base), {
      method, headers, cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(TIMEOUT_MS),
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Problem(401, 'This token holds a character that cannot be sent. Copy it again.');
  }
  try {
    answer = await fetch(request);
  } catch (error) {
    throw new Problem(0, error.name === 'TimeoutError' ? `There was no answer within ${TIMEOUT_MS / 1000} seconds.`
      : 'The server cannot be reached.');
  }
  if (!answer.ok) throw await refusal(answer);
  try {
    return await answer.json();
  } catch {
    throw new Problem(answer.status, 'The answer is not the JSON that it should be.');
  }
}

export const get = (path) => ask('GET', path);
export const post = (path, body) => ask('POST', path, body);
