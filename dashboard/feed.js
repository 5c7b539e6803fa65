// Asks larder every two seconds while the page is seen, and makes of its answers what the views show.
//
// `now` is what is known at this moment, each part null until it has been read; `series` what was known before. A part that
// this larder does not have (404) stays null and is asked for again a minute later.

import * as api from './api.js';
import {Series} from './series.js';

const PERIOD_MS = 2000;
const ABSENT_MS = 60000;

const OPTIONAL = [
  ['top', 'api/cache/top?limit=14'],
  ['workers', 'status'],
  ['problems', 'api/cache/problems'],
  ['slow', 'api/cache/slow'],
];

// What larder counts of its own routes is no resource's; what it could not tell apart is shown when there is some.
const OWN = '(larder)';
// Whose durations are those of reading resources.
const READING = ['l1', 'l2', 'origin'];

function resourceRow(outcomes) {
  const hits = outcomes.hit + outcomes.stale + outcomes.negative + outcomes.collapsed;
  return {
    hits,
    asked: hits + outcomes.miss + outcomes.stale_on_error,
    all: Object.values(outcomes).reduce((sum, count) => sum + count, 0),
  };
}

function resourceRows(byResource) {
  const rows = Object.entries(byResource).filter(([name]) => name !== OWN).map(([name, outcomes]) => [name, resourceRow(outcomes)]);
  return new Map(rows.filter(([name, row]) => name[0] !== '(' || row.all > 0));
}

// The buckets of each tier, and those of all reading together as `reading`.
function buckets(latency) {
  if (!latency) return null;
  const tiers = Object.fromEntries([...READING, 'write'].map((tier) => [tier, latency[tier].buckets]));
  tiers.reading = latency.bounds_us.concat(0).map((_, at) => READING.reduce((sum, tier) => sum + tiers[tier][at], 0));
  return {bounds: latency.bounds_us, tiers};
}

// Of /stats: one sample of the series.
function sample(at, stats) {
  const c = stats.counters;
  return {
    at,
    uptime: stats.uptime_s,
    requests: c.requests,
    errors: c.responses_5xx,
    clientErrors: c.responses_4xx,
    answers: {l1: c.hits_l1, l2: c.hits_l2, origin: c.misses + c.stale_served},
    statements: c.statements,
    statementUs: c.statement_us,
    statementFailures: c.statement_failures,
    writes: c.writes,
    crashes: c.worker_crashes,
    resources: resourceRows(stats.by_resource ?? {}),
    latency: buckets(stats.latency),
  };
}

export class Feed {
  series = new Series();
  now = {stats: null, cache: null, cacheProblem: null, top: null, workers: null, problems: null, slow: null, problem: null, seen: null};
  #change;
  #refused;
  #timer = null;
  #running = false;
  #absentUntil = new Map();

  // CHANGE is called after each round, REFUSED when the token is no longer taken.
  constructor(change, refused) {
    this.#change = change;
    this.#refused = refused;
  }

  start() {
    if (this.#timer !== null) return;
    this.#timer = setInterval(() => this.poll(), PERIOD_MS);
    this.poll();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  // Rounds do not overlap: one that takes long stands for those that it holds up.
  async poll() {
    if (this.#running) return;
    this.#running = true;
    try {
      await this.#ask();
    } finally {
      this.#running = false;
    }
  }

  async #ask() {
    const wanted = OPTIONAL.filter(([part]) => Date.now() >= (this.#absentUntil.get(part) ?? 0));
    const [stats, cache] = await Promise.allSettled([
      api.get('stats'), api.get('api/cache/status'), ...wanted.map(([part, path]) => this.#askOptional(part, path))]);
    // Stopped meanwhile: nobody waits for this any more.
    if (this.#timer === null) return;
    const refused = [stats, cache].find(({reason}) => reason?.status === 401 || reason?.status === 403);
    if (refused) {
      this.#refused(refused.reason);
      return;
    }
    this.now.problem = stats.reason ?? null;
    this.now.cacheProblem = cache.reason ?? null;
    if (stats.value) {
      this.now.seen = Date.now();
      this.now.stats = stats.value;
      this.series.add(sample(this.now.seen, stats.value));
    }
    if (cache.value) this.now.cache = cache.value;
    this.#change();
  }

  async #askOptional(part, path) {
    try {
      this.now[part] = await api.get(path);
    } catch (problem) {
      if (problem.status === 404) {
        this.now[part] = null;
        this.#absentUntil.set(part, Date.now() + ABSENT_MS);
      }
    }
  }
}
