// Light or dark: what the system says, unless this browser was told otherwise.

import {byId, say} from './dom.js';

const PLACE = 'larder-theme', THEMES = ['auto', 'light', 'dark'];
const NAMES = {auto: 'Auto', light: 'Light', dark: 'Dark'};

// CHANGED is called after every change.
export function begin(changed) {
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    say(byId('theme'), NAMES[theme]);
    byId('theme').setAttribute('aria-label', `Theme: ${theme}`);
    changed();
  };
  let theme = localStorage.getItem(PLACE) ?? 'auto';
  apply(theme);
  byId('theme').addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem(PLACE, theme);
    apply(theme);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
}
