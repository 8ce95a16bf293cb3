import { expect, test } from 'vitest';

import { answerForm, eventsWish } from './accept.ts';

test.for([
  [undefined, 'json'],
  ['', 'json'],
  ['*/*', 'json'],
  ['application/json', 'json'],
  ['text/html, application/xhtml+xml, */*;q=0.8', 'json'],
  ['application/x-ndjson', 'ndjson'],
  ['Application/JSONL; charset=utf-8', 'ndjson'],
  ['application/x-ndjson, */*', 'ndjson'],
  ['*/*, application/x-ndjson', 'ndjson'],
  ['application/*', 'json'],
  ['text/csv', 'csv'],
  ['text/*', 'csv'],
  ['text/csv;q=0.5, application/json', 'json'],
  ['text/csv;q=0.5, application/json;q=0.4', 'csv'],
  ['text/csv, application/x-ndjson', 'ndjson'],
  ['application/json;q=0, */*', 'ndjson'],
  ['text/csv;q=0, text/*', 'json'],
  ['text/csv;q=2', 'json'],
  ['application/json;q=0', 'json'],
  ['image/png', 'json'],
  [',;q=,,', 'json'],
] as const)('%s is answered with %s', ([accept, form]) => {
  expect(answerForm(accept)).toBe(form);
});

test.for([
  [undefined, 'no'],
  ['*/*', 'no'],
  ['text/*', 'no'],
  ['text/event-stream;q=0', 'no'],
  ['text/event-stream', 'only'],
  ['Text/Event-Stream; charset=utf-8;q=0.1, application/json;q=0', 'only'],
  ['application/json, text/event-stream', 'among others'],
  ['text/event-stream, */*;q=0.1', 'among others'],
] as const)('events are liked by %s: %s', ([accept, wish]) => {
  expect(eventsWish(accept)).toBe(wish);
});
