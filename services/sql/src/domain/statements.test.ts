import { expect, test } from 'vitest';

import type { ParsedStatement, Verdict } from './statements.ts';
import { judge, mayHideTypes, planExtended, planSimple, textFault } from './statements.ts';

const statement = (node: string, fields: unknown = {}, print = node): ParsedStatement => ({
  node,
  fields: () => fields,
  print: () => print,
  place: () => ({ from: 0, to: 1 }),
  mentions: () => false,
  explainedFrom: () => undefined,
});
const select = statement('SelectStmt');
const string = (value: string): unknown => ({ A_Const: { sval: { sval: value } } });
const set = (name: string, ...args: readonly unknown[]): ParsedStatement =>
  statement('VariableSetStmt', { kind: 'VAR_SET_VALUE', name, args }, `SET ${name}`);

const forbidden = (...statements: readonly ParsedStatement[]): string | undefined => {
  const verdict = judge(statements);
  return verdict.kind === 'statements' ? verdict.forbidden : 'no verdict';
};

test('cursors and COPY to or from the client are not for this API; files and programs are a matter of rights', () => {
  for (const node of ['FetchStmt', 'DeclareCursorStmt', 'ClosePortalStmt']) expect(forbidden(statement(node))).toBe(node);
  expect(forbidden(statement('CopyStmt', { is_from: true }))).toBe('CopyStmt');
  expect(forbidden(statement('CopyStmt', { is_from: true, filename: '/x' }))).toBeUndefined();
  expect(forbidden(statement('CopyStmt', { is_program: true, filename: 'cat' }))).toBeUndefined();
  expect(forbidden(select, statement('ExplainStmt', { query: { DeclareCursorStmt: {} } }))).toBeUndefined();
});

test('the first statement that is not for this API is the one that is named', () => {
  expect(forbidden(select, statement('FetchStmt', {}, 'FETCH a'), statement('CopyStmt', {}, 'COPY b'))).toBe('FETCH a');
});

test('a session keeps the encoding and the kind of strings that its text is read by', () => {
  expect(forbidden(set('client_encoding', string('latin1')))).toBe('SET client_encoding');
  expect(forbidden(set('CLIENT_ENCODING', string('sql_ascii')))).toBe('SET CLIENT_ENCODING');
  expect(forbidden(set('client_encoding', string('UTF-8')))).toBeUndefined();
  expect(forbidden(set('client_encoding', string('unicode')))).toBeUndefined();
  expect(forbidden(set('standard_conforming_strings', string('off')))).toBe('SET standard_conforming_strings');
  expect(forbidden(set('standard_conforming_strings', { A_Const: { ival: {} } }))).toBe('SET standard_conforming_strings');
  expect(forbidden(set('standard_conforming_strings', { A_Const: { boolval: {} } }))).toBe('SET standard_conforming_strings');
  expect(forbidden(set('standard_conforming_strings', string('on')))).toBeUndefined();
  expect(forbidden(set('standard_conforming_strings', { A_Const: { boolval: { boolval: true } } }))).toBeUndefined();
  expect(forbidden(statement('VariableSetStmt', { kind: 'VAR_RESET', name: 'client_encoding' }))).toBeUndefined();
});

test('the statements that change settings are known by their place', () => {
  const verdict = judge([
    statement('TransactionStmt'),
    set('DateStyle', string('SQL'), string('DMY')),
    select,
    set('a', { A_Const: { ival: { ival: -1 } } }),
    statement('VariableSetStmt', { kind: 'VAR_RESET_ALL' }),
  ]);
  expect(verdict).toMatchObject({
    kind: 'statements',
    count: 5,
    forbidden: undefined,
    changes: new Map([
      [0, { name: undefined, values: [] }],
      [1, { name: 'datestyle', values: ['SQL', 'DMY'] }],
      [3, { name: 'a', values: ['-1'] }],
      [4, { name: undefined, values: [] }],
    ]),
    definesObjects: false,
    isOneSelect: false,
  });
});

const counted = (count: number, name?: string): Verdict => ({
  kind: 'statements',
  count,
  forbidden: name,
  changes: new Map(),
  definesObjects: false,
  isOneSelect: false,
  parts: [],
});
const rejected: Verdict = { kind: 'rejected', error: { message: 'syntax error', code: '42601' } };

test('a simple string runs as a whole, is refused as a whole, or holds nothing', () => {
  expect(planSimple(counted(0))).toEqual({ kind: 'nothing' });
  expect(planSimple(counted(3))).toEqual({
    kind: 'run',
    changes: new Map(),
    definesObjects: false,
    isOneSelect: false,
    parts: [],
  });
  expect(planSimple(counted(2, 'FETCH c'))).toEqual({
    kind: 'refuse',
    error: { message: 'unsupported via this API: FETCH c', code: 'XX000' },
  });
});

/** A text that only this grammar rejects must not reach the server as something to run: it has not been judged. */
test('a text that the grammar rejects is never run, only asked about', () => {
  expect(planSimple(rejected)).toEqual({ kind: 'probe', error: { message: 'syntax error', code: '42601' } });
});

test('one query that is not one statement turns the whole request away, whatever else is wrong with it', () => {
  expect(planExtended([counted(1), rejected, counted(1, 'FETCH c'), counted(2), counted(0)])).toEqual({
    kind: 'notOne',
    index: 3,
    count: 2,
  });
  expect(planExtended([counted(1), counted(0)])).toEqual({ kind: 'notOne', index: 1, count: 0 });
});

test('a query that is refused or rejected waits for its turn', () => {
  const plan = planExtended([counted(1), rejected, counted(1, 'FETCH c')]);
  expect(plan.kind === 'steps' ? plan.steps.map((step) => step.kind) : plan).toEqual(['run', 'probe', 'refuse']);
  expect(planExtended([])).toEqual({ kind: 'steps', steps: [] });
});

test('a type may look different to others while a transaction that defines something is open', () => {
  const steps = (...nodes: readonly string[]) => {
    const plan = planExtended(nodes.map((node) => judge([statement(node)])));
    return plan.kind === 'steps' ? plan.steps : [];
  };
  const [simple] = [planSimple(judge([statement('AlterTableStmt'), select]))];
  expect(simple.kind === 'run' && mayHideTypes([simple], true)).toBe(true);
  expect(mayHideTypes(steps('SelectStmt', 'InsertStmt'), true)).toBe(false);
  expect(mayHideTypes(steps('DoStmt'), true)).toBe(true);
  expect(mayHideTypes(steps('AlterTableStmt', 'SelectStmt'), false)).toBe(false);
  expect(mayHideTypes(steps('TransactionStmt', 'AlterTableStmt', 'SelectStmt'), false)).toBe(true);
  expect(mayHideTypes(steps('TransactionStmt', 'SelectStmt'), false)).toBe(false);
});

test('text that PostgreSQL cannot hold is an error of its own', () => {
  expect(textFault('a\0b')).toEqual({ message: 'invalid byte sequence for encoding "UTF8": 0x00', code: '22021' });
  expect(textFault('\ud800')?.code).toBe('22021');
  expect(textFault('é\u{1f600}')).toBeUndefined();
});
