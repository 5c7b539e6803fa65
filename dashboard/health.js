// What the numbers mean to whoever is on duty: one word, and a sentence for each thing that is not as it should be. Pure.

import {count, duration, plural} from './format.js';

const WORDS = {good: 'All well', warn: 'Degraded', bad: 'Down'};
const backendName = {redis: 'Redis', memory: 'The shared memory'};

function judgeCache(cache, add) {
  const name = backendName[cache.backend] ?? cache.backend;
  const why = cache.last_error ? ` (${cache.last_error.text})` : '';
  const l1 = cache.l1.enabled && cache.l1.trusted ? 'from this host’s memory and the database' : 'from the database';
  if (!cache.reachable || cache.breaker !== 'closed') {
    add('warn', `${name} does not answer${why}.`,
      `Requests are answered ${l1}; nobody sees an error. ${cache.breaker === 'closed' ? 'Each read is still tried.'
        : `The breaker is ${cache.breaker}: it is asked again every few seconds.`}`);
  } else if (cache.distrusted) {
    add('warn', `${name} is back, and not read yet.`, 'Purges that were made meanwhile are being carried out there first.');
  }
  if (cache.l1.enabled && !cache.l1.trusted)
    add('warn', 'L1 is not read at the moment.', 'This host cannot know whether another one has purged something.');
  else if (cache.log && !cache.log.followed && cache.reachable)
    add('warn', 'The purge log is not followed.', 'The housekeeper is connecting to it.');
  if (cache.outbox > 0)
    add('warn', `${plural(cache.outbox, 'purge waits', 'purges wait')} for ${name}.`, 'They are kept in the database and carried out before it is read again.');
}

// NOW as the feed has it, MINUTE: [then, now] of the last minute or undefined.
export function judge(now, minute, clockMs) {
  const notices = [];
  const add = (level, what, why = '') => notices.push({level, what, why});

  if (now.problem) {
    const ago = now.seen ? ` The last answer came ${duration((clockMs - now.seen) / 1000)} ago; what is shown is from then.` : '';
    add('bad', 'larder does not answer.', now.problem.message + ago);
  } else if (now.stats) {
    const {writer} = now.stats;
    if (writer.state !== 'ready') add(writer.state === 'starting' ? 'warn' : 'bad', `The writer is ${writer.state}.`, 'Reading works; writes are refused.');
    if (now.cacheProblem) add('warn', 'The state of the cache cannot be read.', now.cacheProblem.message);
    else if (now.cache) judgeCache(now.cache, add);
    if (minute) {
      const [then, last] = minute;
      const crashes = last.crashes - then.crashes, failures = last.statementFailures - then.statementFailures;
      if (crashes > 0) add('warn', `${plural(crashes, 'process')} died in the last minute.`, 'The supervisor has started new ones; the log says why.');
      if (failures > 0) add('warn', `${count(failures)} of ${plural(last.statements - then.statements, 'statement')} failed in the last minute.`);
    }
  }
  const level = notices.some((notice) => notice.level === 'bad') ? 'bad' : notices.length > 0 ? 'warn' : 'good';
  return {level, word: now.stats || now.problem ? WORDS[level] : 'Connecting', notices};
}
