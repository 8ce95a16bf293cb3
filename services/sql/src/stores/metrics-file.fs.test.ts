import { expect, test } from 'vitest';

import { shippedMetrics } from '../domain/shipped-metrics.ts';
import { parseMetricPages, readMetricPages } from './metrics-file.fs.ts';

const family = { name: 'rooms', help: 'Rooms', query: 'select 1 as value' };

test('a page that the file names is as the file says, the others are as shipped', () => {
  const read = parseMetricPages({ mz_usage: [family] });
  expect(read).toEqual({
    kind: 'pages',
    pages: { ...shippedMetrics, mz_usage: [{ ...family, value: 'value', series: 1_000, timeoutMs: 2_000 }] },
  });
});

test('every mistake of the file is told, each where it is', () => {
  const read = parseMetricPages({
    mz_usage: [
      { ...family, name: 'no-name' },
      { ...family, query: '' },
      family,
      family,
      { ...family, type: 'counter', colour: 'red' },
    ],
    mz_other: [],
    mz_storage: [{ ...family, series: 0, requires: "x'; drop table y" }],
  });
  const pointers = read.kind === 'mistakes' ? read.mistakes.map(({ pointer }) => pointer) : [];
  expect(pointers.toSorted()).toEqual([
    '',
    '/mz_storage/0/requires',
    '/mz_storage/0/series',
    '/mz_usage/0/name',
    '/mz_usage/1/query',
    '/mz_usage/4',
    '/mz_usage/4/type',
  ]);
  expect(parseMetricPages({ mz_usage: [family, family] })).toEqual({
    kind: 'mistakes',
    mistakes: [{ pointer: '/mz_usage/1/name', message: 'rooms is there twice' }],
  });
});

test('a file that is not there, or no JSON, is a mistake', () => {
  expect(readMetricPages('/nowhere/metrics.json')).toEqual({
    kind: 'mistakes',
    mistakes: [{ pointer: '', message: 'cannot be read (ENOENT)' }],
  });
  expect(readMetricPages(import.meta.filename)).toEqual({
    kind: 'mistakes',
    mistakes: [{ pointer: '', message: 'is not JSON' }],
  });
});

test('what is shipped would pass as a file', () => {
  expect(parseMetricPages(JSON.parse(JSON.stringify(shippedMetrics)))).toEqual({ kind: 'pages', pages: shippedMetrics });
});
