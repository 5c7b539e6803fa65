// The charts and the table of resources: how things went over the last quarter of an hour.

import {spark, TimeChart} from './charts.js';
import {byId, make, refill, say} from './dom.js';
import * as format from './format.js';
import {hitRate, perSecond, quantile, shares} from './series.js';

// Each point tells of the seconds before it, lest a quiet server's lines jump between all and nothing.
const SMOOTH_MS = 10000, SMOOTH_LATENCY_MS = 30000, MINUTE_MS = 60000;
const QUANTILES = [[0.5, 'p50'], [0.95, 'p95'], [0.99, 'p99']];
const TIERS = [['reading', 'reading'], ['l1', 'L1'], ['l2', 'L2'], ['origin', 'the database'], ['write', 'writing']];

const percent = (part) => `${format.percent(part)} %`;
const latency = (us) => format.latency(us).join(' ');
// On a logarithmic axis, the powers of ten alone.
const powers = (us) => (Number.isInteger(Math.log10(us)) ? latency(us).replace('.0', '') : null);

export class Trends {
  #tiers = new TimeChart(byId('tiers-chart'), byId('tiers-legend'),
    [{name: 'L1', tone: 'l1'}, {name: 'L2', tone: 'l2'}, {name: 'Database', tone: 'origin'}], {
      stacked: true, max: 1, empty: 'Nothing was asked for yet.', format: percent, axis: (part) => `${Math.round(part * 100)} %`,
      describe: ([l1, l2, origin]) => `Share of answers by tier over time; lately L1 ${percent(l1)}, L2 ${percent(l2)}, database ${percent(origin)}`,
    });

  #requests = new TimeChart(byId('requests-chart'), byId('requests-legend'),
    [{name: 'Requests', tone: 'requests'}, {name: 'Errors (5xx)', tone: 'bad'}], {
      suggestedMax: 1, format: format.rate, axis: (value) => format.rate(value),
      describe: ([requests, errors]) => `Requests per second over time; lately ${format.rate(requests)}, with ${format.rate(errors)} errors`,
    });

  #latency = new TimeChart(byId('latency-chart'), byId('latency-legend'),
    QUANTILES.map(([, name]) => ({name, tone: name})), {
      log: true, empty: 'Nothing was read yet.', format: latency, axis: powers,
      describe: (values) => `Latency over time; lately ${QUANTILES.map(([, name], at) => `${name} ${latency(values[at])}`).join(', ')}`,
    });

  constructor(redraw) {
    byId('latency-filter').replaceChildren(...TIERS.map(([value, name]) => make('option', {value}, name)));
    byId('latency-filter').addEventListener('change', redraw);
  }

  recolour() {
    for (const chart of [this.#tiers, this.#requests, this.#latency]) chart.recolour();
  }

  show(series) {
    const last = series.last();
    if (!last) return;
    const points = series.line(SMOOTH_MS, (then, now) => shares(then.answers, now.answers));
    this.#tiers.show(['l1', 'l2', 'origin'].map((tier) => points.map(({x, y}) => ({x, y: y === null ? null : y[tier]}))), last.at);
    this.#requests.show([
      series.line(SMOOTH_MS, (then, now) => perSecond(then, now, (s) => s.requests)),
      series.line(SMOOTH_MS, (then, now) => perSecond(then, now, (s) => s.errors)),
    ], last.at);
    const tier = byId('latency-filter').value;
    this.#latency.show(QUANTILES.map(([fraction]) => series.line(SMOOTH_LATENCY_MS, (then, now) =>
      now.latency && quantile(now.latency.bounds, then.latency?.tiers[tier], now.latency.tiers[tier], fraction))), last.at);
    this.#showResources(series, last);
  }

  #showResources(series, last) {
    const minute = series.between(MINUTE_MS), from = series.samples[0].at;
    const rows = [...last.resources].sort(([, a], [, b]) => b.all - a.all);
    refill(byId('resources'), `${last.at}`, () => rows.length === 0
      ? [make('tr', {class: 'empty'}, make('td', {colspan: 4}, 'There are no resources.'))]
      : rows.map(([name, row]) => {
        const then = minute?.[0].resources.get(name);
        const lately = minute && hitRate(then, row);
        const line = series.line(SMOOTH_MS, (before, now) => hitRate(before.resources.get(name), now.resources.get(name)));
        return make('tr', {}, make('th', {scope: 'row'}, name),
          make('td', {class: 'number'}, minute ? format.rate((row.all - (then?.all ?? 0)) * 1000 / (last.at - minute[0].at)) : '–'),
          make('td', {class: 'number'}, row.asked === 0 ? '–' : `${format.percent(lately ?? hitRate(undefined, row))} %`),
          make('td', {class: 'wide-only'}, spark(line, from, Math.max(last.at, from + 1))));
      }));
  }
}

// What the last minute's reading took: p50, p95 and p99 in microseconds, or undefined.
export function latencyOf(minute) {
  const [then, now] = minute ?? [];
  if (!now?.latency) return undefined;
  return QUANTILES.map(([fraction]) => quantile(now.latency.bounds, then.latency?.tiers.reading, now.latency.tiers.reading, fraction));
}
