// Shows /openapi.json: the routes by their groups, what each takes and gives, and a form to try those that read.
// Text is always set as text, never parsed. The token is that of the dashboard, where somebody has signed in there.

const byId = (id) => document.getElementById(id);
const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const DEPTH_MAX = 6;
const SHOWN_HEADERS = ['cache-status', 'x-cache', 'age', 'etag', 'cache-control', 'content-type', 'retry-after'];

let api; // the document

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== ''));
  return element;
}

// Text with `code` in it.
function prose(text) {
  return text.split(/`([^`]*)`/).map((part, at) => (at % 2 ? make('code', {}, part) : part));
}

function resolve(it) {
  while (it?.$ref) it = it.$ref.slice(2).split('/').reduce((at, step) => at?.[step], api);
  return it ?? {};
}

// What values SCHEMA allows, in a line.
function summarise(schema) {
  const types = [schema.type ?? []].flat(), words = [];
  if (schema.enum) words.push(`one of ${schema.enum.map((value) => JSON.stringify(value)).join(', ')}`);
  else if ('const' in schema) words.push(JSON.stringify(schema.const));
  else words.push(types.join(' or ') || (schema.anyOf ? 'one of these' : schema.allOf ? 'all of these' : 'anything'));
  if (schema.minimum !== undefined || schema.maximum !== undefined)
    words.push(`${schema.minimum ?? ''}..${schema.maximum ?? ''}`);
  if (schema.minLength !== undefined || schema.maxLength !== undefined)
    words.push(`${schema.minLength ?? 0} to ${schema.maxLength ?? 'any number of'} characters`);
  if (schema.maxItems !== undefined) words.push(`${schema.minItems ?? 0} to ${schema.maxItems} items`);
  if (schema.pattern) words.push(`like ${schema.pattern}`);
  if (schema.contentEncoding) words.push(schema.contentEncoding);
  if ('default' in schema) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join(', ');
}

// What is in SCHEMA, as a list; nothing where there is nothing more to say.
function members(schema, depth = 0) {
  schema = resolve(schema);
  const rows = [];
  if (depth === DEPTH_MAX) return undefined;
  for (const [name, below] of Object.entries(schema.properties ?? {})) {
    const inside = resolve(below);
    rows.push(make('li', {}, make('code', {}, name), schema.required?.includes(name) ? ' ' : '? ',
      make('span', {class: 'quiet'}, summarise(inside), inside.description ? `. ${inside.description}` : ''), members(inside, depth + 1)));
  }
  if (schema.items)
    rows.push(make('li', {}, make('span', {class: 'quiet'}, `each: ${summarise(resolve(schema.items))}`), members(schema.items, depth + 1)));
  for (const part of [...(schema.anyOf ?? []), ...(schema.allOf ?? [])])
    rows.push(make('li', {}, make('span', {class: 'quiet'}, summarise(resolve(part))), members(part, depth + 1)));
  return rows.length ? make('ul', {class: 'members'}, ...rows) : undefined;
}

function section(title, ...children) {
  return children.length ? make('div', {}, make('h3', {}, title), ...children) : undefined;
}

function showParameter(it) {
  return make('li', {}, make('code', {}, it.name), it.required ? ' ' : '? ',
    make('span', {class: 'quiet'}, `${it.in}, ${summarise(it.schema)}`, it.description ? '. ' : ''), ...prose(it.description ?? ''));
}

function showBody(body) {
  const schema = resolve(body.content['application/json'].schema);
  const examples = schema.examples ?? [];
  return section('Body', make('span', {class: 'quiet'}, body.required ? 'JSON' : 'JSON, may be left out', schema.description ? `. ${schema.description}` : ''),
    members(schema) ?? '', ...examples.map((example) => make('pre', {tabindex: 0}, JSON.stringify(example, null, 2))));
}

function showResponse(status, it) {
  const response = resolve(it), [type, content] = Object.entries(response.content ?? {})[0] ?? [];
  return make('li', {}, make('code', {}, status), ' ', ...prose(response.description), type ? make('span', {class: 'quiet'}, ` ${type}`) : '',
    status < 400 && content ? members(content.schema) : undefined);
}

// A field for a value of PARAMETER.
function field(parameter) {
  const {schema} = parameter, value = parameter.example ?? '';
  if (!schema.enum)
    return make('input', {name: parameter.name, value: String(value), required: parameter.required, spellcheck: 'false', autocomplete: 'off',
      placeholder: schema.default === undefined ? '' : String(schema.default), inputmode: ['integer', 'number'].includes(schema.type) ? 'decimal' : undefined});
  const options = schema.enum.map((choice) => make('option', {value: choice, selected: choice === value}, String(choice)));
  return make('select', {name: parameter.name}, ...(parameter.required ? [] : [make('option', {value: ''}, '')]), ...options);
}

// The URL that the fields of FORM ask for; larder is where this page is served from.
function urlOf(path, parameters, form) {
  const query = new URLSearchParams();
  for (const {name, in: place} of parameters) {
    const value = form.elements.namedItem(name).value;
    if (place === 'path') path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value !== '') query.append(name, value);
  }
  return `..${path}${query.size ? `?${query}` : ''}`;
}

async function ask(url, operation, out) {
  const token = byId('token').value, headers = operation.security?.length && token ? {Authorization: `Bearer ${token}`} : {};
  out.replaceChildren(make('p', {class: 'quiet'}, 'Asking'));
  try {
    const began = performance.now(), answer = await fetch(url, {headers, cache: 'no-store'});
    let text = await answer.text();
    const took = Math.round(performance.now() - began);
    try {
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // It is no JSON, and shown as it is.
    }
    const told = SHOWN_HEADERS.filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}\n`);
    out.replaceChildren(make('p', {}, make('b', {}, `${answer.status} ${answer.statusText}`), ` in ${took} ms, `, make('code', {}, new URL(url, location).pathname)),
      make('pre', {tabindex: 0}, told.join('') + (told.length ? '\n' : '') + text));
  } catch (error) {
    out.replaceChildren(make('p', {}, `There was no answer: ${error.message}`));
  }
}

function tryForm(path, operation, parameters) {
  const asked = parameters.filter((it) => it.in !== 'header'), out = make('div', {'aria-live': 'polite'});
  return section('Try it', make('form', {
    submit(event) {
      event.preventDefault();
      ask(urlOf(path, asked, event.currentTarget), operation, out);
    },
  }, ...asked.map((it) => make('label', {}, make('span', {}, it.name, it.required ? '' : '?'), field(it))), make('button', {type: 'submit'}, 'GET')), out);
}

function fill(inside, path, method, operation) {
  const parameters = (operation.parameters ?? []).map(resolve);
  const needs = (operation.security ?? []).flatMap((demand) => Object.keys(demand)).map((name) => api.components.securitySchemes[name].description);
  const text = operation.description?.startsWith(operation.summary) ? operation.description : [operation.summary, operation.description].filter(Boolean).join('\n\n');
  inside.append(...text.split('\n\n').map((paragraph) => make('p', {}, ...prose(paragraph))),
    ...needs.map((need) => make('p', {class: 'quiet'}, 'Token: ', ...prose(need))));
  const parts = [
    parameters.length ? section('Parameters', make('ul', {class: 'rows'}, ...parameters.map(showParameter))) : undefined,
    operation.requestBody ? showBody(operation.requestBody) : undefined,
    section('Answers', make('ul', {class: 'rows'}, ...Object.entries(operation.responses).map(([status, it]) => showResponse(status, it)))),
    method === 'get' ? tryForm(path, operation, parameters) : undefined,
  ];
  inside.append(...parts.filter(Boolean));
}

function showOperation(path, method, operation) {
  const inside = make('div', {class: 'inside'});
  const details = make('details', {
    class: 'operation', id: operation.operationId,
    // Most are never opened, so they are filled when they are.
    toggle() {
      if (details.open && !inside.hasChildNodes()) fill(inside, path, method, operation);
    },
  }, make('summary', {}, make('span', {class: 'method', 'data-method': method}, method.toUpperCase()), make('span', {class: 'path'}, path),
    make('span', {class: 'quiet'}, operation.summary, operation.security?.length ? ' (token)' : '')), inside);
  details.dataset.words = `${method} ${path} ${operation.operationId} ${operation.summary} ${operation.description ?? ''}`.toLowerCase();
  return details;
}

function showGroup(tag, operations) {
  return make('section', {'aria-labelledby': `tag-${tag.name}`}, make('h2', {id: `tag-${tag.name}`}, tag.name),
    tag.description ? make('p', {class: 'quiet'}, tag.description) : '', ...operations.map((it) => showOperation(...it)));
}

function show() {
  const operations = Object.entries(api.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => [path, method, item[method]]));
  byId('title').textContent = `${api.info.title} ${api.info.version}`;
  byId('about').replaceChildren(...api.info.description.split('\n\n').map((paragraph) => make('p', {}, ...prose(paragraph))));
  byId('tags').replaceChildren(...api.tags.map((tag) => make('a', {href: `#tag-${tag.name}`}, tag.name)));
  byId('operations').replaceChildren(...api.tags.map((tag) => showGroup(tag, operations.filter(([, , operation]) => operation.tags.includes(tag.name)))));
  byId('operations').removeAttribute('aria-busy');
  openNamed();
}

// A link to an operation opens it.
function openNamed() {
  const named = byId(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches('details')) named.open = true;
  named?.scrollIntoView();
}

function find() {
  const words = byId('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const group of byId('operations').children) {
    let any = false;
    for (const details of group.querySelectorAll('details')) {
      details.hidden = !words.every((word) => details.dataset.words.includes(word));
      any ||= !details.hidden;
      count += !details.hidden;
    }
    group.hidden = !any;
  }
  byId('found').textContent = words.length ? `${count} found` : '';
}

async function begin() {
  document.documentElement.dataset.theme = localStorage.getItem('larder-theme') ?? 'auto';
  byId('token').value = sessionStorage.getItem('larder-admin-token') ?? '';
  byId('find').addEventListener('input', find);
  addEventListener('hashchange', openNamed);
  try {
    const answer = await fetch('../openapi.json');
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    api = await answer.json();
    show();
  } catch (error) {
    byId('notice').textContent = `The description of the routes cannot be read: ${error.message}`;
    byId('notice').hidden = false;
  }
}

begin();
