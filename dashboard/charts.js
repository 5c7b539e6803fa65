// Lines over time, drawn by Chart.js. Colours are those of the legend, which the style sheet knows, so that they follow the theme.

import {make, say} from './dom.js';
import {SPAN_MS} from './series.js';

const AT_LEAST_MS = 2 * 60 * 1000;

const inkOf = (element) => getComputedStyle(element).color;
const clear = (colour, part) => {
  const [r, g, b] = colour.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${part})`;
};
const minutesBefore = (value, last) => {
  const seconds = Math.round((last - value) / 1000);
  return seconds === 0 ? 'now' : seconds % 60 === 0 ? `${seconds / 60} min ago` : `${seconds} s ago`;
};

// Chart.js comes from a package of its own; without it the numbers have to do.
export const available = () => typeof globalThis.Chart === 'function';

export class TimeChart {
  #chart = null;
  #canvas;
  #items;
  #describe;
  #empty = null;

  // LINES: [{name, tone}]; OPTIONS: stacked, max, suggestedMax, log, empty: what to say without data, format(value), axis(value) where that differs, describe(values) for who cannot see it.
  constructor(canvas, legend, lines, options) {
    this.#canvas = canvas;
    this.#describe = options.describe;
    this.#items = lines.map(({name, tone}) => {
      const value = make('b', {}, '–'), item = make('li', {'data-tone': tone}, make('i'), name, ' ', value);
      return {item, value};
    });
    legend.replaceChildren(...this.#items.map(({item}) => item));
    this.format = options.format;
    if (options.empty) {
      this.#empty = make('p', {class: 'empty'}, options.empty);
      canvas.after(this.#empty);
    }
    if (!available()) {
      canvas.replaceWith(make('p', {class: 'empty'}, 'Charts need Chart.js, which Debian has as the package libjs-chart.js.'));
      return;
    }
    this.#chart = new globalThis.Chart(canvas, {
      type: 'line',
      data: {datasets: lines.map(({name}) => ({label: name, data: [], fill: options.stacked ? 'stack' : false}))},
      options: this.#settings(options),
    });
    this.recolour();
  }

  #settings(options) {
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      parsing: false,
      normalized: true,
      interaction: {mode: 'index', intersect: false},
      elements: {point: {radius: 0, hitRadius: 6}, line: {borderWidth: options.stacked ? 1 : 2, tension: 0, borderJoinStyle: 'round'}},
      scales: {
        x: {
          type: 'linear', grid: {display: false},
          ticks: {maxRotation: 0, autoSkip: false, callback(value) { return minutesBefore(value, this.max); }},
          afterBuildTicks: (axis) => {
            const minutes = (axis.max - axis.min) / 60000, step = minutes > 9 ? 5 : minutes > 4 ? 2 : 1;
            axis.ticks = [];
            for (let at = axis.max; at >= axis.min; at -= step * 60000) axis.ticks.unshift({value: at});
          },
        },
        y: {
          stacked: options.stacked, min: 0, max: options.max, suggestedMax: options.suggestedMax, grid: {drawTicks: false},
          ticks: {maxTicksLimit: options.log ? 20 : 5, padding: 6, callback: options.axis ?? options.format},
          ...(options.log ? {type: 'logarithmic', min: undefined} : {}),
        },
      },
      plugins: {
        legend: {display: false},
        tooltip: {
          displayColors: true,
          callbacks: {
            title: (items) => new Date(items[0].parsed.x).toLocaleTimeString('en-GB'),
            label: (item) => ` ${item.dataset.label}  ${options.format(item.parsed.y)}`,
          },
        },
      },
    };
  }

  // After a change of the theme.
  recolour() {
    const chart = this.#chart;
    if (!chart) return;
    const ink = inkOf(this.#canvas), line = getComputedStyle(this.#canvas).borderTopColor;
    chart.data.datasets.forEach((dataset, at) => {
      const colour = inkOf(this.#items[at].item.firstChild);
      dataset.borderColor = colour;
      dataset.backgroundColor = clear(colour, 0.32);
    });
    for (const axis of Object.values(chart.options.scales)) {
      axis.ticks.color = ink;
      axis.ticks.font = {family: getComputedStyle(document.body).fontFamily, size: 11};
      axis.grid.color = line;
      axis.grid.borderColor = line;
    }
    chart.update('none');
  }

  // DATA: for each line its points {x, y}; NOW: the time at the right edge.
  show(data, now) {
    const latest = data.map((points) => points.at(-1)?.y ?? null);
    this.#items.forEach(({value}, at) => say(value, latest[at] === null ? '–' : this.format(latest[at])));
    if (this.#describe) this.#canvas.setAttribute('aria-label', this.#describe(latest));
    if (this.#empty) this.#empty.hidden = data[0].some(({y}) => y !== null);
    const chart = this.#chart;
    if (!chart) return;
    const first = data[0]?.[0]?.x ?? now;
    chart.options.scales.x.max = now;
    chart.options.scales.x.min = now - Math.min(SPAN_MS, Math.max(AT_LEAST_MS, now - first));
    data.forEach((points, at) => { chart.data.datasets[at].data = points; });
    chart.update('none');
  }
}

// A small line without axes, parts of one from left to right.
export function spark(points, from, to) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  const path = document.createElementNS(space, 'path');
  let line = '', drawn = false;
  for (const {x, y} of points) {
    if (y === null) drawn = false;
    else {
      line += `${drawn ? 'L' : 'M'}${((x - from) / (to - from) * 120).toFixed(1)} ${(21 - y * 18).toFixed(1)}`;
      drawn = true;
    }
  }
  svg.setAttribute('viewBox', '0 0 120 24');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', line || 'M0 0');
  svg.append(path);
  return svg;
}
