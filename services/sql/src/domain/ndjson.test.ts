import { expect, test } from 'vitest';

import { NdjsonScript } from './ndjson.ts';
import { Flow } from './outlet.ts';
import type { TransactionStatus } from './script.ts';

function lastLine(status: TransactionStatus, isFailed = false): unknown {
  const sent: Buffer[] = [];
  const outlet = {
    send: (chunks: readonly Buffer[]) => void sent.push(...chunks),
    behind: () => undefined,
    soon: () => {},
    end: () => {},
    abort: () => expect.fail('cut off'),
    refuse: () => expect.fail('refused'),
  };
  const script = new NdjsonScript(new Flow(outlet, { isBroken: false, add: () => {} }));
  script.complete('INSERT 0 1', []);
  if (isFailed) script.error({ message: 'no', code: '42601' });
  script.finished(status);
  return JSON.parse(Buffer.concat(sent).toString().trimEnd().split('\n').at(-1) ?? '');
}

test('only what is committed is said to be ok', () => {
  expect(lastLine('I')).toEqual({ status: 'ok' });
  expect(lastLine('T')).toEqual({ status: 'rolled back' });
  expect(lastLine('E')).toEqual({ status: 'rolled back' });
  expect(lastLine('T', true)).toEqual({ error: { message: 'no', code: '42601' } });
});
