import { expect, test } from 'vitest';
import { offeredActs } from '../../src/study/offeredActs';

test.each([
  ['due', ['retry', 'park', 'discard']],
  ['leased', ['retry', 'park', 'discard']],
  ['frozen', ['retry', 'park', 'discard']],
  ['parked', ['retry', 'discard']],
  ['done', []],
  ['discarded', []],
  ['a state of tomorrow', []],
])('what is offered for an item that is %s', (state, acts) => {
  expect(offeredActs(state)).toEqual(acts);
});
