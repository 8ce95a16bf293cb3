/** Metrics that are defined by SQL: what a definition is, and how its rows become lines of the Prometheus text format. */

export const METRIC_PAGES = ['mz_usage', 'mz_frontier', 'mz_compute', 'mz_storage'] as const;

export type MetricPage = (typeof METRIC_PAGES)[number];

/** A gauge: each row of the query is one series, its value in the designated column, all other columns are labels. */
export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly query: string;
  readonly value: string;
  /** Most series; further rows are left out. */
  readonly series: number;
  readonly timeoutMs: number;
  /** Without this extension the family is not there; with it, its schema is in the search path. */
  readonly requires?: string | undefined;
}

export type MetricPages = Readonly<Record<MetricPage, readonly MetricFamily[]>>;

export const SERIES_DEFAULT = 1_000;
export const FAMILY_TIMEOUT_MS = 2_000;

const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const LABELS_MAX = 24;
/** Longer values are cut: a label is for telling series apart. */
const LABEL_CHARACTERS_MAX = 256;

/** What keeps a family from the page. */
export type FamilyFault = 'no value column' | 'label name' | 'too many labels';

export function columnsFault(columns: readonly string[], valueColumn: string): FamilyFault | undefined {
  if (columns.filter((name) => name === valueColumn).length !== 1) return 'no value column';
  if (columns.length > LABELS_MAX + 1) return 'too many labels';
  const labels = columns.filter((name) => name !== valueColumn);
  const isFit = labels.every((name) => LABEL_NAME.test(name) && !name.startsWith('__'));
  return isFit && new Set(labels).size === labels.length ? undefined : 'label name';
}

/** The lines of one family, as its rows come. */
export class FamilyLines {
  readonly #family: MetricFamily;
  readonly #labels: readonly string[];
  readonly #valueAt: number;
  readonly #series = new Map<string, string>();
  #leftOut = 0;

  constructor(family: MetricFamily, columns: readonly string[]) {
    this.#family = family;
    this.#labels = columns;
    this.#valueAt = columns.indexOf(family.value);
  }

  /** Rows that are not on the page: beyond the bound, or of a series that is there already. */
  get leftOut(): number {
    return this.#leftOut;
  }

  add(row: readonly (string | null)[]): void {
    const labels = this.#labels.flatMap((name, index) =>
      index === this.#valueAt ? [] : [`${name}="${escapeLabel((row[index] ?? '').slice(0, LABEL_CHARACTERS_MAX))}"`],
    );
    const key = labels.length === 0 ? '' : `{${labels.join(',')}}`;
    if (this.#series.has(key) || this.#series.size >= this.#family.series) this.#leftOut += 1;
    else this.#series.set(key, printValue(row[this.#valueAt] ?? null));
  }

  print(): string {
    const { name, help } = this.#family;
    const lines = [...this.#series].map(([labels, value]) => `${name}${labels} ${value}\n`);
    return `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} gauge\n${lines.join('')}`;
  }
}

const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;
const WORDS: Readonly<Record<string, string>> = { NaN: 'NaN', Infinity: '+Inf', '-Infinity': '-Inf' };

/** What is no number is 0. */
export function printValue(text: string | null): string {
  if (text === null) return '0';
  const trimmed = text.trim();
  if (NUMBER.test(trimmed)) return withinDouble(trimmed);
  return Object.hasOwn(WORDS, trimmed) ? (WORDS[trimmed] ?? '0') : '0';
}

/** Prometheus refuses the whole page for a number that a double cannot hold. */
function withinDouble(text: string): string {
  if (Number.isFinite(Number(text))) return text;
  return text.startsWith('-') ? '-Inf' : '+Inf';
}

const escapeLabel = (text: string): string =>
  text
    .toWellFormed()
    .replaceAll('\\', String.raw`\\`)
    .replaceAll('\n', String.raw`\n`)
    .replaceAll('"', String.raw`\"`);

const escapeHelp = (text: string): string => text.replaceAll('\\', String.raw`\\`).replaceAll('\n', String.raw`\n`);
