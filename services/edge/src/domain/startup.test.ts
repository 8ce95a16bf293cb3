import fc from 'fast-check';
import { expect, test } from 'vitest';

import type { StartupStep } from './startup.ts';
import { createStartupReader, fatalError } from './startup.ts';

function startupMessage(settings: readonly (readonly [string, string])[]): Buffer {
  const body = Buffer.from(`${settings.map(([name, value]) => `${name}\0${value}\0`).join('')}\0`);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(body.length + 8);
  head.writeUInt32BE(196_608, 4);
  return Buffer.concat([head, body]);
}

function passwordMessage(password: string): Buffer {
  const body = Buffer.from(`${password}\0`);
  const head = Buffer.alloc(5);
  head[0] = 0x70;
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const word = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 30 })
  .filter((text) => !text.includes('\0') && text.isWellFormed());

test('start-up, password and what is behind them come out as they went in, wherever they are cut', () => {
  const settings = fc.uniqueArray(fc.tuple(word, word), { maxLength: 4, selector: ([name]) => name });
  fc.assert(
    fc.property(
      word,
      settings,
      word,
      fc.uint8Array({ maxLength: 50 }),
      fc.integer({ min: 1, max: 50 }),
      (user, others, password, behind, size) => {
        const named = [['user', user] as const, ...others.filter(([name]) => name !== 'user')];
        const message = startupMessage(named);
        const all = Buffer.concat([message, passwordMessage(password), behind]);
        const reader = createStartupReader();
        const steps: StartupStep[] = [];
        for (let at = 0; at < all.length; at += size) {
          reader.push(all.subarray(at, at + size));
          while (steps.at(-1)?.kind !== 'password') {
            const step = reader.next();
            if (step.kind === 'more') break;
            steps.push(step);
          }
        }
        const database = others.findLast(([name]) => name === 'database')?.[1] ?? user;
        expect(steps).toEqual([
          { kind: 'startup', startup: { bytes: message, user, database } },
          { kind: 'password', password },
        ]);
        expect(reader.rest()).toEqual(Buffer.from(behind));
      },
    ),
  );
});

test('no bytes at all are read beyond the limit, and none end in anything but a step', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const reader = createStartupReader();
      reader.push(Buffer.from(bytes));
      expect(['more', 'refused', 'encryption', 'cancel', 'startup']).toContain(reader.next().kind);
    }),
  );
});

test('an error is FATAL and holds no zero but its own', () => {
  expect(fatalError('28P01', 'a\0b').toString('latin1')).toBe('E\0\0\0\x1eSFATAL\0VFATAL\0C28P01\0Mab\0\0');
});
