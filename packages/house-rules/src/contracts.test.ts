import { allEvents, allServices, traffic } from '@postern/contracts/all';
import type { EventContract, Service } from '@postern/contracts/define';
import { defineEvent, procedure } from '@postern/contracts/define';
import { expect, test } from 'vitest';
import { z } from 'zod';

import { contractMistakes, trafficMistakes } from './contracts.ts';

const services = Object.values(allServices);

const find = procedure({
  summary: 'Finds a box.',
  request: z.object({}),
  response: z.object({}),
  errors: ['ATTIC_DARK'],
  timeoutMs: 100,
  idempotent: true,
});
const attic: Service = {
  name: 'attic',
  version: 1,
  summary: 'Boxes.',
  errors: { ATTIC_DARK: { status: 404, title: 'It is dark' } },
  procedures: { find },
};
const opened = defineEvent({ service: 'attic', version: 1, name: 'opened', summary: 'A box opened.', payload: z.object({}) });

const mistakesOf = (changes: Partial<Service>): string[] => contractMistakes([{ ...attic, ...changes }], []);

test('subjects and codes are unique, and every procedure has a sentence and a deadline', () => {
  expect(contractMistakes(services, allEvents)).toEqual([]);
});

test('every call leads to a procedure, every procedure has a caller, every event that is heard is told', () => {
  expect(trafficMistakes(services, allEvents, traffic)).toEqual([]);
});

test('a contract without a mistake has none', () => {
  expect(contractMistakes([attic], [opened])).toEqual([]);
});

test.each([
  ['two services with one code', [attic, { ...attic, name: 'cellar' }]],
  ['two with one subject', [attic, attic]],
])('%s are found', (_, planted) => {
  expect(contractMistakes(planted, []).length).toBeGreaterThan(0);
});

test.each<[string, Partial<Service>]>([
  ['a code in lower case', { errors: { attic_dark: { status: 404, title: 'Dark' } } }],
  ['a code of another noun', { errors: { BOX_DARK: { status: 404, title: 'Dark' } } }],
  ['a code that is a success', { errors: { ATTIC_DARK: { status: 200, title: 'Dark' } } }],
  ['a procedure without a sentence', { procedures: { find: { ...find, summary: 'finds' } } }],
  ['a procedure without a deadline', { procedures: { find: { ...find, timeoutMs: 0 } } }],
  ['a common code declared again', { errors: { TIMEOUT: { status: 504, title: 'Late' } } }],
])('%s is found', (_, changes) => {
  expect(mistakesOf(changes).length).toBeGreaterThan(0);
});

test('an event in present tense is found', () => {
  expect(contractMistakes([], [{ ...opened, name: 'opens' }])).toHaveLength(1);
});

const nothing = { calls: [] as string[], emits: [] as EventContract[], listensTo: [] as EventContract[] };

test.each([
  ['a call to nobody', { attic: { ...nothing }, edge: { ...nothing, calls: ['rpc.attic.v1.find', 'rpc.attic.v1.lose'] } }],
  ['a procedure without callers', { attic: nothing }],
  ['an event that nobody tells', { attic: nothing, edge: { ...nothing, calls: ['rpc.attic.v1.find'], listensTo: [opened] } }],
  ['an event that is not listed', { attic: { ...nothing, emits: [opened] }, edge: { ...nothing, calls: ['rpc.attic.v1.find'] } }],
])('%s is found', (_, planted) => {
  expect(trafficMistakes([attic], [], planted)).toHaveLength(1);
});
