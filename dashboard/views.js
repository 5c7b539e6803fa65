// What stands on the page besides charts and tools, from what the feed knows. Nothing here asks or decides.

import {byId, facts, make, refill, say} from './dom.js';
import * as format from './format.js';
import {perSecond, shares} from './series.js';
import {latencyOf} from './trends.js';

const tone = (element, level) => {
  if (level) element.dataset.level = level;
  else delete element.dataset.level;
};

function state(id, level, word) {
  tone(byId(id), level);
  say(byId(id), word);
}

export function showHealth({level, word, notices}, paused) {
  const pill = byId('pill');
  pill.dataset.level = paused ? 'wait' : level;
  say(pill, paused ? 'Paused' : word);
  document.title = level === 'good' ? 'larder' : `${word} · larder`;
  refill(byId('notices'), JSON.stringify(notices), () =>
    notices.map((notice) => make('p', {class: 'notice', 'data-level': notice.level}, make('strong', {}, notice.what), ' ', notice.why)));
}

export function showMeta({stats}) {
  say(byId('meta'), stats ? `${stats.version} · up ${format.duration(stats.uptime_s)}` : '');
}

// Not broken over two lines.
const named = (name, us) => [name, ...format.latency(us)].join('\u00a0');

export function showTiles({stats, workers}, minute, lately) {
  const [then, last] = minute ?? [];
  say(byId('tile-requests'), lately ? format.rate(perSecond(...lately, (s) => s.requests)) : '–');
  say(byId('tile-requests-note'), stats ? `${format.count(stats.counters.requests)} since the start` : '\u00a0');
  const share = minute && shares(then.answers, last.answers), ever = stats && shares(undefined, last?.answers);
  say(byId('tile-hits'), format.percent(share?.hits ?? ever?.hits));
  say(byId('tile-hits-note'), share ? 'in the last minute' : ever ? 'since the start' : 'nothing asked yet');
  const [p50, p95, p99] = latencyOf(minute) ?? [];
  const [took, unit] = format.latency(p99);
  say(byId('tile-latency'), took);
  say(byId('tile-latency-unit'), unit);
  say(byId('tile-latency-note'), p99 === undefined ? 'nothing read lately' : `${named('p50', p50)} · ${named('p95', p95)}`);
  const errors = minute ? last.errors - then.errors : undefined, refused = minute ? last.clientErrors - then.clientErrors : 0;
  say(byId('tile-errors'), format.count(errors));
  tone(byId('tile-errors').parentElement, errors > 0 ? 'bad' : undefined);
  say(byId('tile-errors-note'), refused > 0 ? `and ${format.count(refused)} with 4xx` : 'answers with 5xx');
  showWorkers(workers);
}

function showWorkers(workers) {
  const sum = workers?.workers;
  byId('tile-workers').closest('.tile').hidden = !sum;
  if (!sum) return;
  say(byId('tile-workers'), format.count(sum.busy));
  say(byId('tile-workers-unit'), `of ${format.count(sum.total)} busy`);
  tone(byId('tile-workers').parentElement, workers.queued > 0 ? 'warn' : undefined);
  say(byId('tile-workers-note'), `${format.count(workers.queued)} queued, at most ${format.count(workers.queued_most)} so far`);
}

function showL1(l1) {
  const part = l1.size > 0 ? l1.used / l1.size : 0;
  state('l1-state', !l1.enabled ? undefined : l1.trusted ? 'good' : 'warn', !l1.enabled ? 'off' : l1.trusted ? 'trusted' : 'not read');
  byId('l1-bar').setAttribute('aria-valuenow', String(Math.round(part * 100)));
  byId('l1-bar').firstElementChild.style.setProperty('--part', part);
  facts(byId('l1-facts'), [
    ['Used', `${format.bytes(l1.used)} of ${format.bytes(l1.size)}`],
    ['Entries', format.count(l1.entries)],
    ['of them 404s', format.count(l1.negative)],
    ['Evicted', format.count(l1.evicted)],
    ['Too large to keep', format.count(l1.refused)],
  ]);
}

function showL2(cache, counters) {
  const up = cache.reachable && cache.breaker === 'closed';
  const {log} = cache;
  state('l2-state', !up ? 'bad' : cache.distrusted ? 'warn' : 'good', !up ? 'away' : cache.distrusted ? 'catching up' : 'reachable');
  say(byId('l2-where'), cache.backend === 'memory' ? 'memory: of this host alone' : cache.where);
  facts(byId('l2-facts'), [
    ['Holds', cache.l2 ? `${format.bytes(cache.l2.used)}, ${format.plural(cache.l2.keys, 'key')}` : '–'],
    ['Breaker', cache.breaker_opened > 0 ? `${cache.breaker}, opened ${format.plural(cache.breaker_opened, 'time')}` : cache.breaker,
      cache.breaker === 'closed' ? undefined : 'bad'],
    ['Purge log', !log ? 'not needed' : log.followed ? 'followed' : 'not followed', log && !log.followed ? 'warn' : undefined],
    ['Heard from', !log ? '–' : log.contact_ms_ago < 0 ? 'never' : log.contact_ms_ago < 3000 ? `${log.contact_ms_ago} ms ago` : `${format.duration(log.contact_ms_ago / 1000)} ago`],
    ['Purges kept', format.count(cache.outbox ?? 0), cache.outbox > 0 ? 'warn' : undefined],
    ['Failures', `${format.count(counters.l2_failures)}, ${format.count(counters.l2_skipped)} skipped`],
  ]);
}

function showOrigin(stats, database, minute) {
  const {writer} = stats;
  const [then, last] = minute ?? [];
  const statements = minute ? last.statements - then.statements : 0;
  const [took, unit] = statements > 0 ? format.latency((last.statementUs - then.statementUs) / statements) : ['–', ''];
  state('origin-state', writer.state === 'ready' ? 'good' : 'warn', writer.state === 'ready' ? 'writable' : writer.state);
  facts(byId('origin-facts'), [
    ['Statements', minute ? `${format.rate(perSecond(then, last, (s) => s.statements))} /s` : '–'],
    ['each takes', `${took} ${unit}`],
    ['Failed', format.count(stats.counters.statement_failures), minute && last.statementFailures > then.statementFailures ? 'bad' : undefined],
    ['Writes', format.count(stats.counters.writes)],
    ['Commits', format.count(writer.commits)],
    ['Size', database ? `${format.bytes(database.size)}, log ${format.bytes(database.wal)}` : '–'],
  ]);
}

export function showTiers({stats, cache}, minute) {
  if (!stats) return;
  showOrigin(stats, cache?.database, minute);
  if (!cache) return;
  showL1(cache.l1);
  showL2(cache, stats.counters);
}

export const bar = (part) => {
  const filled = make('span');
  filled.style.setProperty('--part', Math.min(1, part));
  return make('span', {class: 'bar', 'aria-hidden': 'true'}, filled);
};

const emptyRow = (columns, text) => make('tr', {class: 'empty'}, make('td', {colspan: columns}, text));

// Requests a second below which a key has not been asked for lately.
const FADED = 0.005;

// CHOOSE is called with the key that was chosen.
export function showTop({top}, choose) {
  const keys = (top?.keys ?? []).filter((key) => key.per_second >= FADED);
  say(byId('top-note'), keys.length > 0 ? 'fading by half each minute' : '');
  refill(byId('top'), JSON.stringify(keys), () => keys.length === 0 ? [emptyRow(3, 'Nothing was asked for lately.')]
    : keys.map(({key, cut, per_second: perKey}) => make('tr', {},
      make('th', {scope: 'row'}, make('button', {class: 'key', type: 'button', title: `Purge ${key}`, 'data-focus': key, disabled: cut, click: () => choose(key)},
        cut ? `${key}…` : key), bar(perKey / keys[0].per_second)),
      make('td', {class: 'number'}, format.rate(perKey)),
      make('td', {class: 'number'}, `${format.percent(top.per_second > 0 ? perKey / top.per_second : 0)} %`))));
}

// Words of an event: `l2_unreachable` is read more easily without its joints.
const words = (event) => (event ?? '').replaceAll('_', ' ');
const SEEN = new Set(['time', 'first', 'repeats', 'level', 'event', 'why', 'resource', 'role', 'pid', 'request_id', 'traceparent', 'us']);

// LIST of events that are made by MAKE_ITEM; null where this larder does not keep them.
function showEvents(list, note, answer, nothing, makeItem) {
  const items = answer?.items ?? [];
  say(note, items.length > 0 ? format.plural(items.length, 'kind') : '');
  refill(list, answer ? JSON.stringify(items) : 'none', () => (items.length > 0 ? items.map(makeItem)
    : [make('li', {class: 'empty'}, answer ? nothing : 'This server does not tell.')]));
}

const when = (item) => make('time', {datetime: item.time, title: item.first === item.time ? '' : `first at ${format.clock(Date.parse(item.first))}`}, format.clock(Date.parse(item.time)));
const times = (item) => (item.repeats > 1 ? make('span', {class: 'times', title: 'how often'}, `×${format.count(item.repeats)}`) : null);

function problem(item) {
  const rest = Object.entries(item).filter(([name]) => !SEEN.has(name)).map(([name, value]) => `${name} ${value}`).join(', ');
  return make('li', {'data-level': item.level === 'warning' ? 'warn' : 'bad'}, when(item),
    make('p', {}, make('strong', {}, words(item.event)), item.resource ? ` ${item.resource}` : '', times(item),
      item.why ? make('span', {class: 'why'}, item.why) : null, rest ? make('span', {class: 'quiet rest'}, rest) : null));
}

function slow(item) {
  const params = Object.entries(item.params ?? {}).map(([name, value]) => `${name}=${value}`).join('  ');
  const phases = Object.entries(item.phases ?? {}).filter(([, ms]) => ms >= item.ms / 100).sort(([, a], [, b]) => b - a)
    .map(([name, ms]) => `${name} ${format.latency(ms * 1000).join(' ')}`).join(', ');
  return make('li', {}, when(item),
    make('p', {}, make('strong', {}, format.latency(item.ms * 1000).join(' ')), ` ${item.resource ?? item.route ?? words(item.event)}`, times(item),
      params ? make('code', {class: 'why'}, params) : null, make('span', {class: 'quiet rest'}, phases),
      item.plan?.length ? make('code', {class: 'quiet rest'}, item.plan.join('\n')) : null));
}

export function showLogs(now) {
  showEvents(byId('problems'), byId('problems-note'), now.problems, 'Nothing has gone wrong lately.', problem);
  showEvents(byId('slow'), byId('slow-note'), now.slow, 'Nothing has been slow lately.', slow);
}
