// The page: signing in, polling while it is seen, and handing what came to the views.

import * as api from './api.js';
import {byId, say} from './dom.js';
import {Feed} from './feed.js';
import {judge} from './health.js';
import * as theme from './theme.js';
import * as tools from './tools.js';
import {Trends} from './trends.js';
import * as views from './views.js';

const MINUTE_MS = 60000, LATELY_MS = 10000;

let feed = null, trends = null, paused = false;
const chooseKey = tools.begin();

function draw() {
  const {now, series} = feed;
  const minute = series.between(MINUTE_MS);
  views.showHealth(judge(now, minute, Date.now()), paused);
  views.showMeta(now);
  views.showTiles(now, minute, series.between(LATELY_MS));
  views.showTiers(now, minute);
  views.showTop(now, chooseKey);
  views.showLogs(now);
  trends.show(series);
}

// Polls while somebody looks on, and not otherwise.
function follow() {
  if (!feed) return;
  if (paused || document.hidden) feed.stop();
  else feed.start();
}

function setPaused(value) {
  paused = value;
  byId('pause').setAttribute('aria-pressed', String(paused));
  say(byId('pause'), paused ? 'Go on' : 'Pause');
}

function signOut(why = '') {
  feed?.stop();
  feed = null;
  setPaused(false);
  api.dropToken();
  byId('main').hidden = byId('leave').hidden = byId('pause').hidden = true;
  byId('signin').hidden = false;
  say(byId('signin-error'), why);
  byId('pill').dataset.level = 'wait';
  say(byId('pill'), 'Signed out');
  say(byId('meta'), '');
  document.title = 'larder';
  byId('token').value = '';
  byId('token').focus();
}

function enter() {
  byId('signin').hidden = true;
  byId('main').hidden = byId('leave').hidden = byId('pause').hidden = false;
  trends ??= new Trends(() => feed && trends.show(feed.series));
  feed = new Feed(draw, (problem) => signOut(problem.message));
  follow();
}

byId('signin-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  api.keepToken(byId('token').value.trim());
  say(byId('signin-error'), '');
  try {
    await api.get('api/cache/status');
    enter();
    byId('main').focus({preventScroll: true});
  } catch (problem) {
    signOut(problem.message);
  }
});
byId('leave').addEventListener('click', () => signOut());
byId('pause').addEventListener('click', () => {
  setPaused(!paused);
  follow();
  draw();
});
document.addEventListener('visibilitychange', follow);
theme.begin(() => trends?.recolour());

say(byId('host'), location.host);
if (api.token()) enter();
else signOut();
