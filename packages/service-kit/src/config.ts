import { readFileSync } from 'node:fs';
import type { z } from 'zod';

/** One environment variable: its name, its shape and what it is for. */
export interface Setting<Schema extends z.ZodType = z.ZodType> {
  readonly env: string;
  readonly schema: Schema;
  readonly summary: string;
  readonly secret: boolean;
}

export type Settings = Readonly<Record<string, Setting>>;

export type Config<S extends Settings> = { readonly [Name in keyof S]: z.output<S[Name]['schema']> };

export const setting = <Schema extends z.ZodType>(env: string, schema: Schema, summary: string): Setting<Schema> => ({
  env,
  schema,
  summary,
  secret: false,
});

/** A setting that is never printed. `<ENV>_FILE` names a file to read it from instead. */
export const secret = <Schema extends z.ZodType>(env: string, schema: Schema, summary: string): Setting<Schema> => ({
  env,
  schema,
  summary,
  secret: true,
});

export type Environment = Readonly<Record<string, string | undefined>>;

export type ParsedConfig<S extends Settings> =
  | { readonly kind: 'config'; readonly config: Config<S> }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] };

/** Rules across settings: the mistakes, as sentences. A setting that is itself mistaken is absent, so that its rules wait. */
export type Refine<S extends Settings> = (config: Partial<Config<S>>) => readonly string[];

/** Reads all settings and reports all mistakes at once; a value is never repeated in a mistake. */
export function parseConfig<S extends Settings>(settings: S, environment: Environment, refine?: Refine<S>): ParsedConfig<S> {
  const mistakes: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, { env, schema, secret: isSecret }] of Object.entries(settings)) {
    let text = environment[env] || undefined;
    const file = isSecret ? environment[`${env}_FILE`] || undefined : undefined;
    if (file !== undefined) {
      if (text !== undefined) mistakes.push(`${env}: set it or ${env}_FILE, not both`);
      try {
        text = readFileSync(file, 'utf8').trim() || undefined;
      } catch (error) {
        mistakes.push(`${env}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`);
        continue;
      }
    }
    const parsed = schema.safeParse(text);
    if (parsed.success) values[name] = parsed.data;
    else if (text === undefined) mistakes.push(`${env}: is required`);
    else mistakes.push(...parsed.error.issues.map((issue) => `${env}: ${issue.message}`));
  }
  // Every key was parsed by its own schema, or there is a mistake.
  const config = Object.freeze(values) as Config<S>;
  mistakes.push(...(refine?.(config) ?? []));
  return mistakes.length === 0 ? { kind: 'config', config } : { kind: 'mistakes', mistakes };
}

export interface SettingRow {
  readonly env: string;
  readonly summary: string;
  readonly fallback: string;
}

/** The rows of `--help`, of the README tables and of `docs/config.md`. */
export function describeSettings(settings: Settings): SettingRow[] {
  return Object.values(settings).map(({ env, schema, summary, secret: isSecret }) => {
    const absent = schema.safeParse(undefined);
    let fallback = 'required';
    if (absent.success) fallback = absent.data === undefined ? 'unset' : printable(absent.data);
    return { env, summary: isSecret ? `${summary} (secret; or ${env}_FILE)` : summary, fallback };
  });
}

const printable = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

export function helpText(name: string, settings: Settings): string {
  const rows = describeSettings(settings);
  const width = Math.max(...rows.map((row) => row.env.length));
  const lines = rows.map((row) => `  ${row.env.padEnd(width)}  ${row.summary} [${row.fallback}]`);
  return `postern ${name}: reads its settings from the environment.\n\n${lines.join('\n')}\n`;
}
