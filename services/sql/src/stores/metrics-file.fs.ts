/** The file of metrics that an operator has written: what it may say, and everything that is mistaken in it. */
import type { Issue } from '@postern/contracts/failure';
import { issuesOf } from '@postern/contracts/issues';
import { readFileSync } from 'node:fs';
import { z } from 'zod';

import { shippedMetrics } from '../domain/shipped-metrics.ts';
import type { MetricPages } from '../domain/sql-metrics.ts';
import { FAMILY_TIMEOUT_MS, METRIC_PAGES, SERIES_DEFAULT } from '../domain/sql-metrics.ts';

const Family = z.strictObject({
  name: z.string().regex(/^[a-zA-Z_:][a-zA-Z0-9_:]*$/, 'must be a metric name: letters, digits, _ and :'),
  type: z.literal('gauge').optional(),
  help: z.string().max(1_000),
  query: z
    .string()
    .max(100_000)
    .regex(/^[^\0]*$/, 'must not have a NUL character')
    .regex(/\S/, 'must not be empty'),
  value: z.string().min(1).max(63).default('value'),
  series: z.int().min(1).max(10_000).default(SERIES_DEFAULT),
  timeoutMs: z.int().min(1).max(10_000).default(FAMILY_TIMEOUT_MS),
  requires: z
    .string()
    .regex(/^[a-z0-9_-]{1,63}$/, 'must be the name of an extension')
    .optional(),
});

const Families = z
  .array(Family)
  .max(200)
  .superRefine((families, context) => {
    const names = families.map(({ name }) => name);
    for (const [index, name] of names.entries())
      if (names.indexOf(name) < index)
        context.addIssue({ code: 'custom', path: [index, 'name'], message: `${name} is there twice` });
  });

/** A page that is named has exactly what the file says; the others are as they were shipped. */
const File = z.strictObject(Object.fromEntries(METRIC_PAGES.map((page) => [page, Families.optional()])));

export type ReadPages =
  | { readonly kind: 'pages'; readonly pages: MetricPages }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly Issue[] };

export function readMetricPages(file: string | undefined): ReadPages {
  if (file === undefined) return { kind: 'pages', pages: shippedMetrics };
  try {
    return parseMetricPages(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    const message = error instanceof Error && 'code' in error ? `cannot be read (${String(error.code)})` : 'is not JSON';
    return { kind: 'mistakes', mistakes: [{ pointer: '', message }] };
  }
}

export function parseMetricPages(document: unknown): ReadPages {
  const parsed = File.safeParse(document);
  if (parsed.success) {
    const given = Object.fromEntries(Object.entries(parsed.data).filter(([, families]) => families !== undefined));
    return { kind: 'pages', pages: { ...shippedMetrics, ...given } };
  }
  return { kind: 'mistakes', mistakes: issuesOf(parsed.error) };
}
