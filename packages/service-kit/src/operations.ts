/** What a service says of its routes, in the schemas that it reads and writes with; the OpenAPI document is made of it. */
import { z } from 'zod';

export interface Media {
  readonly schema: z.ZodType;
  readonly description?: string;
}

export interface Answer {
  readonly description: string;
  /** By content type. */
  readonly content?: Readonly<Record<string, Media>>;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Operation {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** As in the edge's route table. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  /** What the places of the path hold, and parameters and headers that count. */
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  /** Of the body, by content type. */
  readonly body?: Readonly<Record<string, Media>>;
  readonly answers: Readonly<Record<number, Answer>>;
  /** The messages of what the connection becomes: the address of their schema. */
  readonly socket?: string;
}

/** What a service's `http/openapi.ts` exports. */
export interface Described {
  readonly operations: readonly Operation[];
  /** Shapes that have a name in the document; others stand where they are used. */
  readonly shapes: Readonly<Record<string, z.ZodType>>;
  /** What is said on sockets: by us, and to us. */
  readonly messages?: {
    readonly output?: Readonly<Record<string, z.ZodType>>;
    readonly input?: Readonly<Record<string, z.ZodType>>;
  };
}

export const json = (schema: z.ZodType, description?: string): Readonly<Record<string, Media>> => ({
  'application/json': { schema, ...(description !== undefined && { description }) },
});

export const text = (description: string): Readonly<Record<string, Media>> => ({
  'text/plain': { schema: z.string().describe(description) },
});

/** RFC 9457, as `presentProblem` writes it. */
export const Problem = z.strictObject({
  type: z.url(),
  title: z.string(),
  status: z.int(),
  detail: z.string().optional(),
  instance: z.string().optional(),
  code: z.string().describe('A code of docs/errors.md'),
  issues: z.array(z.strictObject({ pointer: z.string(), message: z.string() })).optional(),
});

export const problem = (description: string): Answer => ({
  description,
  content: { 'application/problem+json': { schema: Problem } },
});
