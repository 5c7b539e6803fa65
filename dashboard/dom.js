// The little that every view needs of the document. Text is always set as text, never parsed.

export const byId = (id) => document.getElementById(id);

// make('td', {class: 'number', title: '…'}, 'text', node, …)
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

// Sets text only where it changed, so that assistive technology hears of changes alone.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Replaces what ELEMENT holds unless KEY says that it is what it was.
export function refill(element, key, makeChildren) {
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  element.replaceChildren(...makeChildren());
  if (focused !== undefined) element.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({preventScroll: true});
}

// A definition list of [term, value, title] that are filled in place.
export function facts(list, rows) {
  const names = rows.map(([name]) => name).join('|');
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    list.replaceChildren(...rows.map(([name]) => make('div', {}, make('dt', {}, name), make('dd'))));
  }
  rows.forEach(([, value, level], at) => {
    const place = list.children[at].lastChild;
    say(place, value);
    if (level) place.dataset.level = level;
    else delete place.dataset.level;
  });
}
