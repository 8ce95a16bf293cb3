import { expect, test } from 'vitest';

import { estimateFault, readEstimate, Standing, withoutExplain } from './guard-estimate.ts';
import type { Bounds } from './guard.ts';

const explain = (...queries: readonly unknown[]): string => JSON.stringify(queries);
const scan = { 'Node Type': 'Seq Scan', 'Total Cost': 100.5, 'Plan Rows': 2_000 };
const cost = (value: number): Bounds => ({ estimatedCostMax: { name: 'estimatedCostMax', value, of: 'role "a"' } });
const rows = (value: number): Bounds => ({ estimatedRowsMax: { name: 'estimatedRowsMax', value, of: 'key "k"' } });

const faultOf = (plan: string, bounds: Bounds, yardstick: ReadonlyMap<string, string> = new Map()) => {
  const estimate = readEstimate(plan);
  return estimate === undefined ? 'unreadable' : estimateFault(estimate, { bounds, yardstick, plan });
};

test('the estimate is of the whole plan; of several, costs add up', () => {
  expect(readEstimate(explain({ Plan: scan }))).toMatchObject({ cost: 100.5, rows: 2_000, isChange: false });
  expect(readEstimate(explain({ Plan: scan }, { Plan: scan }, {}))).toMatchObject({ cost: 201, rows: 2_000 });
  expect(readEstimate(explain('Utility Statement'))).toMatchObject({ cost: 0, rows: 0 });
  expect(readEstimate('QUERY PLAN')).toBeUndefined();
  expect(readEstimate('{}')).toBeUndefined();
});

test('a change answers no rows, but it changes those of the plan below it', () => {
  const init = { ...scan, 'Parent Relationship': 'InitPlan', 'Plan Rows': 9_000_000 };
  const change = { 'Node Type': 'ModifyTable', 'Total Cost': 7, 'Plan Rows': 0, Plans: [init, { ...scan, 'Plan Rows': 20_000 }] };
  const estimate = readEstimate(explain({ Plan: change }));
  expect(estimate).toMatchObject({ cost: 7, rows: 20_000, isChange: true });
});

test('what has changed many rows, at once or in small changes, unsettles what follows', () => {
  const change = (count: number, isChange = true) => ({ cost: 1, rows: count, isChange, settings: new Map() });
  const after = (...changes: readonly ReturnType<typeof change>[]): boolean => {
    const standing = new Standing();
    for (const one of changes) standing.add(one);
    return standing.isUnsettled;
  };
  expect(after(change(10_000), change(20_000, false))).toBe(false);
  expect(after(change(10_001))).toBe(true);
  expect(after(change(6_000), change(4_001))).toBe(true);
});

test('the error names the limit, its owner and both values, and carries the plan', () => {
  const plan = explain({ Plan: scan });
  expect(faultOf(plan, cost(100.5))).toBeUndefined();
  expect(faultOf(plan, cost(100.4))).toEqual({
    message: 'estimated cost 100.5 exceeds the limit estimatedCostMax of role "a": 100.4',
    code: '54000',
    detail: plan,
    hint: expect.stringContaining('not run') as unknown,
  });
  expect(faultOf(plan, rows(1_999))).toMatchObject({
    message: 'estimated rows 2000 exceeds the limit estimatedRowsMax of key "k": 1999',
  });
  const wide = faultOf(explain({ Plan: { ...scan, Output: 'x'.repeat(100_000) } }), rows(1));
  expect(typeof wide === 'object' && wide.detail?.length).toBe(8_193);
});

/** Costs are counted in units that a session may set: with all of them 0 every statement would cost nothing. */
test('a unit of cost that the session has changed cannot be held against a limit', () => {
  const lowered = explain({ Plan: scan, Settings: { seq_page_cost: '0', work_mem: '1GB' } });
  expect(faultOf(lowered, cost(1e9))).toMatchObject({
    message: expect.stringContaining('seq_page_cost') as unknown,
    code: '54000',
  });
  const built = explain({ Plan: scan });
  // The operator's own setting, put back to what the server was built with.
  expect(faultOf(built, cost(1e9), new Map([['random_page_cost', '1.1']]))).toMatchObject({
    message: expect.stringContaining('random_page_cost') as unknown,
  });
  expect(faultOf(lowered, cost(1e9), new Map([['seq_page_cost', '0']]))).toBeUndefined();
});

test('an error of EXPLAIN points to where the statement itself is at fault', () => {
  const error = { message: 'no', code: '42P01', position: 33 + 15 };
  expect(withoutExplain(error, 0).position).toBe(16);
  expect(withoutExplain(error, 10).position).toBe(26);
  expect(withoutExplain({ message: 'no', code: '42P01' }, 10).position).toBeUndefined();
});
