// The two things that an operator does here: purging, and asking why a URL is answered as it is.

import * as api from './api.js';
import {byId, make, say} from './dom.js';
import * as format from './format.js';

const JOB_POLL_MS = 300;
const LABELS = {pattern: 'Pattern of keys', tag: 'Tag', key: 'Key', all: ''};
const PLACEHOLDERS = {pattern: 'stocks:*', tag: 'stocks', key: 'stocks:detail:AAPL', all: ''};
const HINTS = {
  pattern: '* any text, ? one character, [a-z] a range, \\ takes the next as it is.',
  tag: 'Entries under a tag are not listed anywhere, so a dry run cannot count them.',
  key: 'One entry, by its whole name.',
  all: 'Empties L1 and L2 of every host. Until they fill again, the database answers everything.',
};

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

class PurgeBox {
  #form = byId('purge-form');
  #what = byId('purge-what');

  constructor() {
    this.#form.addEventListener('change', () => this.#adapt());
    this.#what.addEventListener('input', () => this.#confirm(false));
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (event.submitter?.value === 'purge') this.#confirm(true);
      else this.#run(() => this.#count());
    });
    byId('purge-yes').addEventListener('click', () => {
      this.#confirm(false);
      byId('purge-go').focus();
      this.#run(() => this.#purge());
    });
    byId('purge-no').addEventListener('click', () => {
      this.#confirm(false);
      byId('purge-go').focus();
    });
    this.#adapt();
  }

  choose(key) {
    this.#form.elements.by.value = 'key';
    this.#what.value = key;
    this.#adapt();
    this.#what.focus();
  }

  get #by() {
    return this.#form.elements.by.value;
  }

  #adapt() {
    const by = this.#by;
    this.#what.hidden = byId('purge-label').hidden = by === 'all';
    this.#what.required = by !== 'all';
    this.#what.placeholder = PLACEHOLDERS[by];
    byId('purge-label').textContent = LABELS[by];
    byId('purge-hint').textContent = HINTS[by];
    byId('purge-count').disabled = by === 'tag';
    this.#confirm(false);
  }

  #confirm(asked) {
    if (asked)
      say(byId('purge-question'), this.#by === 'all' ? 'Remove everything, on every host?' : `${byId('purge-soft').checked ? 'Mark stale' : 'Remove'} by ${this.#by} ${this.#what.value}, on every host?`);
    byId('purge-confirm').hidden = !asked;
    byId('purge-buttons').hidden = asked;
    if (asked) byId('purge-no').focus();
  }

  #body() {
    const body = this.#by === 'all' ? {all: true} : {[this.#by]: this.#what.value};
    if (byId('purge-soft').checked) body.soft = true;
    return body;
  }

  #tell(text, level) {
    const place = byId('purge-outcome');
    place.dataset.level = level ?? '';
    say(place, text);
  }

  async #run(act) {
    const buttons = [byId('purge-count'), byId('purge-go')];
    buttons.forEach((button) => button.setAttribute('aria-busy', 'true'));
    try {
      await act();
    } catch (problem) {
      this.#tell(problem.message, 'bad');
    } finally {
      byId('purge-progress').hidden = true;
      buttons.forEach((button) => button.removeAttribute('aria-busy'));
    }
  }

  async #count() {
    const {matched} = await api.post('api/cache/invalidate', {...this.#body(), dry_run: true});
    this.#tell(matched === 0 ? 'Nothing in the shared cache would be removed.' : `${format.plural(matched, 'key')} would be removed.`);
  }

  async #purge() {
    const verb = byId('purge-soft').checked ? 'marked stale' : 'removed';
    const done = await api.post('api/cache/invalidate', this.#body());
    if (done.pending)
      this.#tell('In force on this host. The shared cache cannot be told at the moment: the purge is kept, and carried out before it is read again.', 'warn');
    else if (done.job) await this.#follow(done.job, verb);
    else this.#tell(done.removed === null ? 'In force: nothing older is answered any more.' : `Done: ${format.plural(done.removed, 'entry', 'entries')} ${verb}.`, 'good');
  }

  // The purge is in force already; the job takes the room back.
  async #follow(id, verb) {
    const bar = byId('purge-progress');
    bar.hidden = false;
    for (;;) {
      const job = await api.get(`api/cache/jobs/${id}`);
      bar.value = job.progress;
      if (job.state === 'done') {
        this.#tell(`Done: ${format.plural(job.removed, 'entry', 'entries')} ${verb} in ${format.latency(job.ms * 1000).join(' ')}.`, 'good');
        return;
      }
      this.#tell(`In force. Removing: ${format.plural(job.removed, 'entry', 'entries')} so far, ${Math.round(job.progress * 100)} % of the keys looked at.`);
      await pause(JOB_POLL_MS);
    }
  }
}

// What a tier holds of the URL that was asked about, in a few words.
function tierWords(tier) {
  if (tier.enabled === false) return 'off';
  if (!tier.present) return tier.trusted === false ? 'not read at the moment' : tier.readable === false ? 'cannot be read' : 'nothing';
  const left = tier.ttl >= 0 ? `fresh for ${format.duration(tier.ttl)}` : `ended ${format.duration(-tier.ttl)} ago`;
  return `${tier.state}, ${format.duration(tier.age)} old, ${left}, ${format.bytes(tier.bytes)}`;
}

function explanation(answer) {
  const rows = [];
  const add = (name, value) => value && rows.push(make('div', {}, make('dt', {}, name), make('dd', {}, value)));
  if (answer.resource) add('Resource', `${answer.resource.name}, ${answer.resource.route}`);
  add('Key', answer.key);
  add('Tags', answer.tags?.join('  '));
  if (answer.l1) add('L1', tierWords(answer.l1));
  if (answer.l2) add('L2', tierWords(answer.l2));
  if (answer.lease?.held) add('Lease', 'held: somebody computes it now');
  add('Plan', answer.plan?.join('\n'));
  return [make('p', {class: 'decision'}, make('strong', {}, answer.decision), ' – ', answer.why), make('dl', {class: 'long'}, ...rows)];
}

function explainBox() {
  const place = byId('explain-outcome'), url = byId('explain-url');
  byId('explain-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    let path = url.value.trim();
    if (/^https?:/i.test(path) && URL.canParse(path)) {
      const whole = new URL(path);
      path = whole.pathname + whole.search;
    }
    try {
      place.replaceChildren(...explanation(await api.get(`api/cache/explain?url=${encodeURIComponent(path)}`)));
    } catch (problem) {
      place.replaceChildren(make('p', {class: 'problem'}, problem.message));
    }
  });
}

// Returns what takes a key into the purge box.
export function begin() {
  const box = new PurgeBox();
  explainBox();
  return (key) => box.choose(key);
}
