import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { chooseLanguage } from '../../src/words/chooseLanguage';
import { en } from '../../src/words/en';
import { fr } from '../../src/words/fr';
import { switchLanguage } from '../../src/words/switchLanguage';
import { withLanguage } from '../../src/words/withLanguage';

const holes = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort();

test('both languages have the same keys', () => {
  expect(Object.keys(en).sort()).toEqual(Object.keys(fr).sort());
});

test.each(Object.keys(fr) as (keyof typeof fr)[])('%s has words and the same holes in both languages', (key) => {
  expect(fr[key].trim()).not.toBe('');
  expect(en[key].trim()).not.toBe('');
  expect(holes(en[key])).toEqual(holes(fr[key]));
});

test('every word is used somewhere', () => {
  const folder = resolve(import.meta.dirname, '../../src');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const code = files
    .filter((name) => /\.tsx?$/.test(name) && !/words.(fr|en)\.ts$/.test(name))
    .map((name) => readFileSync(resolve(folder, name), 'utf8'))
    .join('\n');
  const unused = Object.keys(fr).filter((key) => {
    const prefix = /^(kind|sex|state|job|cause|tool|preset|problem_detail|problem)_/.exec(key)?.[0];
    const act = /^(park|discard)(Title|Meaning)$/.exec(key)?.[2];
    return !code.includes(`'${key}'`) && !(prefix && code.includes(prefix)) && !(act && code.includes(`\${act}${act}`));
  });
  expect(unused).toEqual([]);
});

test.each([
  ['', 'fr-FR', 'fr'],
  ['', 'en-GB', 'en'],
  ['', 'de-DE', 'fr'],
  ['?lang=en', 'fr-FR', 'en'],
  ['?lang=fr', 'en-GB', 'fr'],
])('language for %j and a browser in %s is %s', (search, browser, expected) => {
  expect(chooseLanguage(search, browser)).toBe(expected);
});

test('a chosen language follows the links, and can be switched', () => {
  expect(withLanguage('/', '?lang=en')).toBe('/?lang=en');
  expect(withLanguage('/viewer/?a=1', '?lang=en')).toBe('/viewer/?a=1&lang=en');
  expect(withLanguage('/', '?lang=<x>')).toBe('/');
  expect(withLanguage('/', '')).toBe('/');
  expect(switchLanguage('?visit=7', 'fr')).toBe('?visit=7&lang=en');
  expect(switchLanguage('?lang=en', 'en')).toBe('?lang=fr');
});
