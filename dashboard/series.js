// What was polled in the last quarter of an hour, and what happened between two of its moments. Pure: the clock is handed in.
//
// A sample holds counters that only grow. Whoever wants a rate subtracts two of them; where larder was started anew between
// the two there is none.

export const SPAN_MS = 15 * 60 * 1000;

export class Series {
  samples = [];

  add(sample) {
    const last = this.samples.at(-1);
    sample.restarted = last !== undefined && (sample.requests < last.requests || sample.uptime < last.uptime);
    this.samples.push(sample);
    const first = this.samples.findIndex(({at}) => at >= sample.at - SPAN_MS);
    if (first > 0) this.samples.splice(0, first);
  }

  last() {
    return this.samples.at(-1);
  }

  // [then, now]: the sample at END and the one SPAN_MS before it; as far back as one run reaches. Undefined without two.
  between(spanMs, end = this.samples.length - 1) {
    const now = this.samples[end];
    if (!now) return undefined;
    let begin = end;
    while (begin > 0 && !this.samples[begin].restarted && this.samples[begin - 1].at >= now.at - spanMs - 500) begin--;
    return begin < end ? [this.samples[begin], now] : undefined;
  }

  // For each sample what MAKE says of the SPAN_MS before it: {x, y}. A hole where nothing was polled leaves a gap.
  line(spanMs, make) {
    const points = [];
    this.samples.forEach((sample, at) => {
      if (at > 0 && sample.at - this.samples[at - 1].at > 10000) points.push({x: sample.at - 1, y: null});
      const pair = this.between(spanMs, at);
      points.push({x: sample.at, y: pair ? make(...pair) ?? null : null});
    });
    return points;
  }
}

export const perSecond = (then, now, value) => (value(now) - value(then)) * 1000 / (now.at - then.at);

// What fraction of a resource's answers came from the cache between two of its rows; undefined when it was not asked.
export function hitRate(then, now) {
  if (!now) return undefined;
  const hits = now.hits - (then?.hits ?? 0), asked = now.asked - (then?.asked ?? 0);
  return asked > 0 ? hits / asked : undefined;
}

// The duration below which FRACTION of what came into the buckets between two moments lies, in microseconds; within a bucket as
// if spread evenly, and the last bound for what is beyond it. Undefined when nothing came.
export function quantile(bounds, then, now, fraction) {
  const counts = now.map((count, at) => count - (then?.[at] ?? 0));
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all <= 0) return undefined;
  let before = 0;
  for (let at = 0; at < bounds.length; at++) {
    if (before + counts[at] >= fraction * all) {
      const low = at > 0 ? bounds[at - 1] : 0;
      return low + (bounds[at] - low) * (fraction * all - before) / counts[at];
    }
    before += counts[at];
  }
  return bounds.at(-1);
}

// How answers are shared out among the tiers between two counts of them: parts of one, or undefined without answers.
export function shares(then, now) {
  if (!now) return undefined;
  const l1 = now.l1 - (then?.l1 ?? 0), l2 = now.l2 - (then?.l2 ?? 0), origin = now.origin - (then?.origin ?? 0);
  const all = l1 + l2 + origin;
  return all > 0 ? {l1: l1 / all, l2: l2 / all, origin: origin / all, hits: (l1 + l2) / all, all} : undefined;
}
