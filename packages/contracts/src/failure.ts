/** Common codes: what any call may answer, beside the codes its procedure declares. */
export const commonErrors = {
  INVALID_REQUEST: { status: 400, title: 'The request does not fit its schema' },
  UNAVAILABLE: { status: 503, title: 'A server that is needed is away' },
  ASSERTION_INVALID: { status: 401, title: 'The request does not carry a valid principal' },
  TIMEOUT: { status: 504, title: 'The deadline passed' },
  INTERNAL: { status: 500, title: 'Something failed here' },
} as const satisfies Record<string, ErrorDefinition>;

export type CommonCode = keyof typeof commonErrors;

/** One row of an error table: the HTTP status a failure has at a door, and its public title. */
export interface ErrorDefinition {
  readonly status: number;
  readonly title: string;
}

/** One thing that is wrong with an input: where (JSON pointer) and why. */
export interface Issue {
  readonly pointer: string;
  readonly message: string;
}

export interface FailureOptions {
  /** Safe to show to the caller. */
  readonly detail?: string | undefined;
  readonly issues?: readonly Issue[] | undefined;
  /** Whole seconds after which a retry may succeed; becomes `Retry-After`. */
  readonly retryAfterSeconds?: number | undefined;
  /** Never shown to a caller; logged once. */
  readonly cause?: unknown;
}

/** The one error a caller may see. Test with {@link isFailure}: `instanceof` narrows a generic class to `any`. */
export class Failure<Code extends string = string> extends Error {
  override readonly name = 'Failure';
  readonly code: Code;
  readonly detail: string | undefined;
  readonly issues: readonly Issue[] | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: Code, options: FailureOptions = {}) {
    super(options.detail === undefined ? code : `${code}: ${options.detail}`, { cause: options.cause });
    this.code = code;
    this.detail = options.detail;
    this.issues = options.issues;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Whether `error` is a {@link Failure}, and of that code if one is given. */
export function isFailure(error: unknown): error is Failure;
export function isFailure<Code extends string>(error: unknown, code: Code): error is Failure<Code>;
export function isFailure(error: unknown, code?: string): boolean {
  return error instanceof Failure && (code === undefined || error.code === code);
}
