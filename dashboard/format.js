// Numbers, sizes and times as a person reads them. Pure.

const locale = 'en';
const whole = new Intl.NumberFormat(locale, {maximumFractionDigits: 0});
const compact = new Intl.NumberFormat(locale, {notation: 'compact', maximumFractionDigits: 1});
const NOTHING = '–';

const known = (value) => typeof value === 'number' && Number.isFinite(value);

export function count(value) {
  if (!known(value)) return NOTHING;
  return value < 1e5 ? whole.format(value) : compact.format(value);
}

// A rate: as many digits as say something.
export function rate(value) {
  if (!known(value)) return NOTHING;
  if (value === 0) return '0';
  if (value < 0.01) return '< 0.01';
  if (value < 10) return value.toFixed(value < 1 ? 2 : 1);
  return count(Math.round(value));
}

// A part of one in percent, without the sign. Never 100 or 0 unless it is all or nothing.
export function percent(part) {
  if (!known(part)) return NOTHING;
  if (part > 0 && part < 0.001) return '< 0.1';
  if (part < 1 && part > 0.999) return '> 99.9';
  return part === 1 || part === 0 ? String(part * 100) : (part * 100).toFixed(1);
}

export function bytes(value) {
  if (!known(value)) return NOTHING;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

// Seconds as a length of time, in its two largest units.
export function duration(seconds) {
  if (!known(seconds)) return NOTHING;
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return seconds > 0 ? '< 1 s' : '0 s';
  const parts = [];
  let rest = Math.floor(seconds);
  for (const [name, size] of units.slice(first, first + 2)) {
    const amount = Math.floor(rest / size);
    rest -= amount * size;
    if (amount > 0) parts.push(`${amount} ${name}`);
  }
  return parts.join(' ');
}

// Microseconds in the unit that suits: [number, unit].
export function latency(us) {
  if (!known(us)) return [NOTHING, 'ms'];
  if (us < 1000) return [String(Math.round(us)), 'µs'];
  const ms = us / 1000;
  if (ms < 1000) return [ms < 10 ? ms.toFixed(1) : String(Math.round(ms)), 'ms'];
  return [(ms / 1000).toFixed(1), 's'];
}

// The time of day, and the day where it is another one.
export function clock(ms, now = Date.now()) {
  const date = new Date(ms);
  const time = date.toLocaleTimeString('en-GB');
  return date.toDateString() === new Date(now).toDateString()
    ? time : `${date.toLocaleDateString('en-GB', {day: 'numeric', month: 'short'})} ${time}`;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
