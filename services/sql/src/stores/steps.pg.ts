/** Runs the steps of a request on its stream, and the settings that come before them. */
import { mayNeedBinary } from '../domain/binary.ts';
import { needsEstimate } from '../domain/guard.ts';
import type { Notice, SqlError } from '../domain/entries.ts';
import type { Query } from '../domain/plan.ts';
import type { QueryWithParameters } from '../domain/ports.ts';
import type { Step } from '../domain/statements.ts';
import { textFault } from '../domain/statements.ts';
import type { Estimating } from './explain.pg.ts';
import { estimate } from './explain.pg.ts';
import type { Stream } from './stream.pg.ts';
import { extendedQuery, parse, PARAMETERS_MAX, simpleQuery, sync } from './wire.pg.ts';

export interface StepsOptions {
  readonly queries: readonly Query[];
  readonly steps: readonly Step[];
  /** All values are wanted as PostgreSQL prints them. */
  readonly isText?: boolean;
  /** What answers no rows is refused: all are described before they run. */
  readonly isRowsOnly?: boolean;
  /** The cost guard: what is estimated before it runs. */
  readonly guarded?: Estimating | undefined;
}

export async function runSteps(
  stream: Stream,
  { queries, steps, isText = false, isRowsOnly = false, guarded }: StepsOptions,
): Promise<void> {
  for (const [index, step] of steps.entries()) {
    const query = queries[index];
    if (stream.isOver || query === undefined) return;
    if (step.kind === 'run' && guarded !== undefined && needsEstimate(guarded.bounds)) {
      const fault = parametersFault(query.params ?? []);
      if (fault !== undefined) return stream.refuse(fault);
      await estimate(stream, query, { ...guarded, parts: step.parts });
      if (stream.isOver) return;
    }
    await runStep(stream, query, { step, isLast: index === steps.length - 1, isText, isRowsOnly });
  }
}

interface Turn {
  readonly step: Step;
  readonly isLast: boolean;
  readonly isText: boolean;
  readonly isRowsOnly: boolean;
}

async function runStep(stream: Stream, { query, params }: Query, { step, isLast, isText, isRowsOnly }: Turn): Promise<void> {
  switch (step.kind) {
    case 'refuse':
      return stream.refuse(step.error);
    case 'probe':
      return stream.probe(Buffer.concat([parse(query), sync]), step.error, isLast);
    case 'run': {
      const fault = parametersFault(params ?? []);
      if (fault !== undefined) return stream.refuse(fault);
      const needsBinary = !isText && mayNeedBinary(query, stream.dateStyle);
      if (isRowsOnly) return stream.described(query, params ?? [], isLast);
      if (params === undefined) {
        // One SELECT is the same in both modes, but for what a parameter without a value means.
        const isSame = step.isOneSelect && !/\$\d/.test(query);
        return needsBinary && isSame
          ? stream.described(query, [], isLast)
          : stream.simple(simpleQuery(query), step.changes, isLast);
      }
      if (needsBinary) return stream.described(query, params, isLast);
      return stream.extended(extendedQuery(query, params), isLast);
    }
  }
}

export function parametersFault(params: QueryWithParameters['params']): SqlError | undefined {
  if (params.length > PARAMETERS_MAX) {
    return { message: `a query takes at most ${PARAMETERS_MAX} parameters, but ${params.length} were supplied`, code: '08P01' };
  }
  for (const value of params) {
    const fault = value === null ? undefined : textFault(value);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** Those that cannot be set are told of as notices. */
export async function applySettings(stream: Stream, settings: ReadonlyMap<string, string>): Promise<void> {
  for (const [name, value] of settings) {
    if (stream.isOver) return;
    const fault = settingFault(name, value);
    if (fault === undefined) {
      await stream.applySetting(extendedQuery('select pg_catalog.set_config($1, $2, false)', [name, value]), (error) =>
        settingNotice(name, error),
      );
    } else {
      stream.notice(settingNotice(name, fault));
    }
  }
}

/** Who the session is, and how its text is read, is not the caller's to choose. */
const FIXED = new Set(['role', 'session_authorization', 'client_encoding', 'standard_conforming_strings']);

export function settingFault(name: string, value: string): string | undefined {
  if (FIXED.has(name.toLowerCase())) return 'it cannot be chosen here';
  return (textFault(name) ?? textFault(value))?.message;
}

export const settingNotice = (name: string, reason: string): Notice => ({
  message: `startup setting ${name} not set: ${reason}`,
  code: '01000',
  severity: 'notice',
});
