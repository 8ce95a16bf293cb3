import type { z } from 'zod';

import type { CommonCode, ErrorDefinition } from './failure.ts';

export type ErrorTable = Readonly<Record<string, ErrorDefinition>>;

/** One question or command of a service; everything about the call is read from it. */
export interface Procedure<
  Request extends z.ZodType = z.ZodType,
  Response extends z.ZodType = z.ZodType,
  Codes extends string = string,
> {
  /** One sentence: what the call does. Printed in `docs/subjects.md`. */
  readonly summary: string;
  readonly request: Request;
  readonly response: Response;
  /** Codes of the service's error table that this call may answer, beside the common ones. */
  readonly errors: readonly Codes[];
  readonly timeoutMs: number;
  /** Whether a repeated call has the effect of one; only such calls are retried. */
  readonly idempotent: boolean;
}

export interface Service<
  Errors extends ErrorTable = ErrorTable,
  Procedures extends Readonly<Record<string, Procedure>> = Readonly<Record<string, Procedure>>,
> {
  readonly name: string;
  readonly version: number;
  readonly summary: string;
  readonly errors: Errors;
  readonly procedures: Procedures;
}

/** Something that happened, told to whoever listens (`evt.<service>.v<version>.<name>`); name in past tense. */
export interface EventContract<Payload extends z.ZodType = z.ZodType> {
  readonly service: string;
  readonly version: number;
  readonly name: string;
  readonly summary: string;
  readonly payload: Payload;
}

export const defineErrors = <const Table extends ErrorTable>(table: Table): Table => table;

export const procedure = <Request extends z.ZodType, Response extends z.ZodType, const Codes extends string = never>(
  definition: Procedure<Request, Response, Codes>,
): Procedure<Request, Response, Codes> => definition;

/** A procedure that lists a code outside the service's table does not compile. */
export const defineService = <
  const Errors extends ErrorTable,
  const Procedures extends Readonly<Record<string, Procedure<z.ZodType, z.ZodType, Extract<keyof Errors, string>>>>,
>(
  service: Service<Errors, Procedures>,
): Service<Errors, Procedures> => service;

export const defineEvent = <Payload extends z.ZodType>(event: EventContract<Payload>): EventContract<Payload> => event;

export const procedureSubject = (service: Pick<Service, 'name' | 'version'>, name: string): string =>
  `rpc.${service.name}.v${service.version}.${name}`;

export const eventSubject = (event: EventContract): string => `evt.${event.service}.v${event.version}.${event.name}`;

export type RequestOf<P> = P extends Procedure<infer Request, z.ZodType, string> ? z.input<Request> : never;
export type ParsedRequestOf<P> = P extends Procedure<infer Request, z.ZodType, string> ? z.output<Request> : never;
export type ResponseOf<P> = P extends Procedure<z.ZodType, infer Response, string> ? z.output<Response> : never;
/** The codes a handler of `P` may fail with. */
export type CodeOf<P> = (P extends Procedure<z.ZodType, z.ZodType, infer Codes> ? Codes : never) | CommonCode;
export type PayloadOf<E> = E extends EventContract<infer Payload> ? z.output<Payload> : never;
